"""Runs a Python handler: frames on descriptor 3 in, answers out; for CPython 3.6 and later, standard library only.

A frame is a little-endian u32 (length of the rest), a kind byte and a body. The platform sends INVOKE: u32 header
length, header JSON, event. Words of errors, the context object and log lines follow Lambda's own runtime client.
"""
import os

CHANNEL = 3
INVOKE, READY, INIT_ERROR, ANSWER, ERROR, STARTED, FATAL_ERROR, TOO_LARGE = range(1, 9)
os.set_inheritable(CHANNEL, False)
os.write(CHANNEL, b"\1\0\0\0" + bytes((STARTED,)))

import importlib
import io
import json
import marshal
import sys
import time

ANSWER_BYTES_MAX = 6291556
LOG_FRAME = b"\xa5\x5a\x00\x03"
TASK_ROOT = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
RUNTIME_DIR = os.environ.get("LAMBDA_RUNTIME_DIR", "/var/runtime")


class Fault(Exception):
    """A failure that Lambda names itself."""

    def __init__(self, kind, message, trace=None):
        Exception.__init__(self, message)
        self.kind = kind
        self.message = message
        self.trace = trace


class CognitoIdentity(object):
    __slots__ = ["cognito_identity_id", "cognito_identity_pool_id"]

    def __repr__(self):
        return _shown(self, self.__slots__)


class Client(object):
    __slots__ = ["installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"]

    def __repr__(self):
        return _shown(self, self.__slots__)


class ClientContext(object):
    __slots__ = ["custom", "env", "client"]

    def __repr__(self):
        return _shown(self, self.__slots__)


class LambdaContext(object):
    def __init__(self, header):
        environ = os.environ
        self.aws_request_id = header["requestId"]
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = header["functionArn"]
        self.tenant_id = None
        context = _header_json(header, "clientContext", "Client Context")
        self.client_context = _filled(ClientContext, context)
        if self.client_context is not None:
            self.client_context.client = _filled(Client, self.client_context.client)
        identity = _header_json(header, "cognitoIdentity", "Cognito Identity") or {}
        self.identity = CognitoIdentity()
        self.identity.cognito_identity_id = identity.get("cognitoIdentityId")
        self.identity.cognito_identity_pool_id = identity.get("cognitoIdentityPoolId")
        self._epoch_deadline_time_in_ms = header["deadlineMs"]

    def get_remaining_time_in_millis(self):
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def log(self, message):
        log_event(str(message))

    def __repr__(self):
        return _shown(
            self,
            [
                "aws_request_id",
                "log_group_name",
                "log_stream_name",
                "function_name",
                "memory_limit_in_mb",
                "function_version",
                "invoked_function_arn",
                "client_context",
                "identity",
                "tenant_id",
            ],
        )


def _shown(thing, names):
    return "{}([{}])".format(
        type(thing).__name__, ",".join("{}={}".format(name, getattr(thing, name, None)) for name in names)
    )


def _filled(kind, values):
    if values is None:
        return None
    thing = kind()
    for name in kind.__slots__:
        setattr(thing, name, values.get(name))
    return thing


def _header_json(header, key, name):
    text = header.get(key)
    if not text:
        return None
    try:
        value = json.loads(text)
    except Exception as error:
        raise Fault("Runtime.LambdaContextUnmarshalError", "Unable to parse {} JSON: {}".format(name, error))
    return value if isinstance(value, dict) else {}


# ---- the channel


def send(kind, *parts):
    length = 1 + sum(map(len, parts))
    parts = [length.to_bytes(4, "little") + bytes((kind,))] + list(parts)
    left = length + 4
    while left:
        written = os.writev(CHANNEL, parts)
        left -= written
        while left and written >= len(parts[0]):
            written -= len(parts.pop(0))
        if left and written:
            parts[0] = memoryview(parts[0])[written:]


def receive():
    """One INVOKE frame: its header and the event's bytes. Ends the process when the platform has gone."""
    data = os.read(CHANNEL, 65536)
    while 0 < len(data) < 4:
        data += os.read(CHANNEL, 65536) or os._exit(0)
    if not data:
        os._exit(0)
    length = int.from_bytes(data[:4], "little") + 4
    if len(data) < length:
        whole = bytearray(length)
        whole[: len(data)] = data
        rest = memoryview(whole)
        at = len(data)
        while at < length:
            count = os.readv(CHANNEL, [rest[at:]])
            if not count:
                os._exit(0)
            at += count
        rest.release()
        data = bytes(whole)
    if data[4] != INVOKE:
        os._exit(70)
    event_at = 9 + int.from_bytes(data[5:9], "little")
    return json.loads(data[9:event_at].decode()), data[event_at:length]


# ---- the log


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


def log_event(text):
    """One event of the log, whatever newlines it holds."""
    flush()
    payload = text.encode("utf-8", "backslashreplace")
    frame = memoryview(LOG_FRAME + len(payload).to_bytes(4, "little") + payload)
    while frame:
        frame = frame[os.write(1, frame) :]


def log_error(error):
    """As Lambda's runtime client words it; indentation is made of no-break spaces."""
    text = "[ERROR]"
    if error["errorType"]:
        text += " " + error["errorType"]
    if error["errorMessage"]:
        text += (": " if error["errorType"] else " ") + error["errorMessage"]
    lines = [text, "Traceback (most recent call last):"]
    for entry in error["stackTrace"]:
        for line in entry.splitlines() or [""]:
            bare = line.lstrip(" ")
            lines.append("\u00a0" * (len(line) - len(bare)) + bare)
    log_event("\n".join(lines))


class LoggingSetup(object):
    """Gives the root logger Lambda's handler once somebody imports `logging`: most functions never do."""

    def find_spec(self, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path)
        spec = next((spec for spec in specs if spec is not None), None)
        loader = spec.loader if spec else None
        if not hasattr(loader, "exec_module"):
            return spec

        def exec_module(module):
            del loader.exec_module
            loader.exec_module(module)
            set_up_logging(module)

        loader.exec_module = exec_module
        return spec


request_id = ""


def set_up_logging(logging):
    class LambdaLoggerHandler(logging.Handler):
        def emit(self, record):
            try:
                log_event(self.format(record))
            except Exception:
                self.handleError(record)

    class LambdaLoggerFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = request_id
            record.tenant_id = None
            return True

    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler()
    handler.setFormatter(
        logging.Formatter(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S"
        )
    )
    handler.addFilter(LambdaLoggerFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = {"TRACE": "DEBUG", "FATAL": "CRITICAL"}.get(level, level)
    if level in ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"):
        root.setLevel(level)


# ---- JSON as Lambda's runtime client makes it

# A Decimal becomes its own digits: the encoder can only be given a string, so a marked one, unmarked afterwards.
DECIMAL_MARK = "decimal-" + os.urandom(16).hex() + ":"
decimals_seen = False
# Before the function's own code adds to them.
KINDS_OF_TUPLES = len(tuple.__subclasses__())


def _default(value):
    global decimals_seen
    kind = type(value)
    if kind.__name__ == "Decimal" and kind.__module__ in ("decimal", "_pydecimal"):
        if value.is_nan():
            return float("nan")
        decimals_seen = True
        return DECIMAL_MARK + str(value) + ":"
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError("Object of type {} is not JSON serializable".format(kind.__name__))


def _plain_unicode():
    """Lambda escapes what is not ASCII up to Python 3.11."""
    name = os.environ.get("AWS_EXECUTION_ENV", "")
    minor = name[len("AWS_Lambda_python3.") :] if name.startswith("AWS_Lambda_python3.") else ""
    return minor.isdigit() and int(minor) >= 12


encode = json.JSONEncoder(ensure_ascii=not _plain_unicode(), default=_default).encode


def _is_plain(value):
    """Whether all of it is of the built-in types themselves: marshal refuses any other, at a fraction of the encoder's cost."""
    try:
        marshal.dumps(value, 2)
    except ValueError:
        return False
    return True


def _as_objects(value):
    """Named tuples become objects, as Lambda's encoder makes them; ours takes them for tuples without asking."""
    if isinstance(value, tuple) and callable(getattr(value, "_asdict", None)):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _as_objects(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_objects(part) for part in value]
    return value


def to_json(value):
    global decimals_seen
    text = encode(value)
    # Without an array there was no tuple, and without a new kind of tuple no named one.
    if "[" in text and len(tuple.__subclasses__()) > KINDS_OF_TUPLES and not _is_plain(value):
        text = encode(_as_objects(value))
    if decimals_seen:
        decimals_seen = False
        start, end = '"' + DECIMAL_MARK, ':"'
        head, *rest = text.split(start)
        text = head + "".join("".join(part.split(end, 1)) for part in rest)
    return text.encode("utf-8")


def to_error_json(error):
    try:
        text = to_json(error)
    except Exception:
        text = json.dumps(error).encode()
    if len(text) > ANSWER_BYTES_MAX:
        error = dict(error, errorMessage=error["errorMessage"][:65536], stackTrace=[])
        text = json.dumps(error).encode()
    return text


# ---- errors


def error_document(message, kind, trace, request=""):
    return {"errorMessage": message or "", "errorType": kind or "", "requestId": request, "stackTrace": trace or []}


def raised_document(request=""):
    """The exception being handled, without the frames of this file at its top."""
    import traceback

    kind, value, trace = sys.exc_info()
    frames = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(trace)]
    for at, frame in enumerate(frames):
        if "/bootstrap.py" not in frame[0]:
            frames = frames[at:]
            break
    try:
        message = str(value)
    except Exception:
        message = ""
    return error_document(message, kind.__name__, traceback.format_list(frames), request)


# ---- the handler


def load_handler(name):
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise Fault("Runtime.MalformedHandlerName", "Bad handler '{}': {}".format(name, error))
    try:
        if module_name.split(".")[0] in sys.builtin_module_names:
            raise Fault(
                "Runtime.BuiltInModuleConflict",
                "Cannot use built-in module {} as a handler module".format(module_name),
            )
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", "Unable to import module '{}': {}".format(module_name, error))
    except SyntaxError as error:
        trace = ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)]
        message = "Syntax error in module '{}': {}".format(module_name, error)
        raise Fault("Runtime.UserCodeSyntaxError", message, trace)
    try:
        return getattr(module, function_name)
    except AttributeError:
        message = "Handler '{}' missing on module '{}'".format(function_name, module_name)
        raise Fault("Runtime.HandlerNotFound", message)


def invoke(handler, header, event):
    """One invocation. What is no `Exception` (SystemExit, KeyboardInterrupt) ends the process, as with Lambda."""
    request = header["requestId"]
    try:
        context = LambdaContext(header)
        try:
            event = json.loads(event.decode("utf-8"))
        except Exception as error:
            raise Fault("Runtime.UnmarshalError", "Unable to unmarshal input: {}".format(error))
        answer = handler(event, context)
        if not isinstance(answer, bytes):
            try:
                answer = to_json(answer)
            except Exception as error:
                raise Fault("Runtime.MarshalError", "Unable to marshal response: {}".format(error))
    except Fault as fault:
        error = error_document(fault.message, fault.kind, fault.trace, request)
    except Exception:
        error = raised_document(request)
    else:
        flush()
        if len(answer) > ANSWER_BYTES_MAX:
            send(TOO_LARGE, request.encode(), len(answer).to_bytes(8, "little"))
        else:
            send(ANSWER, request.encode(), answer)
        return
    log_error(error)
    send(ERROR, request.encode(), to_error_json(error))


def main():
    global request_id
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        # Line by line, so that a line is one write and what a crash leaves behind is whole.
        stream = io.open(
            descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", newline="\n", closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, "__%s__" % name, stream)
    own = [RUNTIME_DIR, TASK_ROOT]
    site_packages = "/opt/python/lib/python%d.%d/site-packages" % sys.version_info[:2]
    sys.path[:] = [TASK_ROOT, site_packages, "/opt/python", RUNTIME_DIR] + [p for p in sys.path if p not in own]
    sys.meta_path.insert(0, LoggingSetup())
    try:
        try:
            handler = load_handler(os.environ["_HANDLER"])
        except Fault as fault:
            error = error_document(fault.message, fault.kind, fault.trace)
        except Exception:
            error = raised_document()
        else:
            error = None
        if error is not None:
            log_error(error)
            send(INIT_ERROR, to_error_json(error))
            sys.exit(1)
        flush()
        send(READY)
        while True:
            header, event = receive()
            request_id = header["requestId"]
            trace = header.get("traceId")
            if trace:
                os.environ["_X_AMZN_TRACE_ID"] = trace
            else:
                os.environ.pop("_X_AMZN_TRACE_ID", None)
            invoke(handler, header, event)
    except BrokenPipeError:
        # The platform has gone; nobody is left to tell.
        os._exit(0)


if __name__ == "__main__":
    main()
