// Runs a JavaScript handler: frames on descriptor 3 in, answers out; for Node.js 14 and later, built-in modules only.
//
// A frame is a little-endian u32 (length of the rest), a kind byte and a body. The platform sends INVOKE: u32 header
// length, header JSON, event. Words of errors, the context object and log lines follow Lambda's own runtime client.
"use strict";

const fs = require("fs");

const CHANNEL = 3;
const [INVOKE, READY, INIT_ERROR, ANSWER, ERROR, STARTED, FATAL_ERROR, TOO_LARGE] = [1, 2, 3, 4, 5, 6, 7, 8];
const ANSWER_BYTES_MAX = 6291556;
const SYNC_WRITE_BYTES_MAX = 65536;
const NOTHING = Buffer.alloc(0);

fs.writeSync(CHANNEL, Buffer.from([1, 0, 0, 0, STARTED]));

const net = require("net");
const path = require("path");
const util = require("util");

const taskRoot = process.env.LAMBDA_TASK_ROOT || "/var/task";
let requestId;

// ---- errors

class UnhandledPromiseRejection extends Error {
  constructor(reason, promise) {
    super(reason);
    this.reason = reason;
    this.promise = promise;
  }
}
class ImportModuleError extends Error {}
class HandlerNotFound extends Error {}
class MalformedHandlerName extends Error {}
class UserCodeSyntaxError extends Error {}
class StreamingNotSupported extends Error {}
for (const kind of [
  UnhandledPromiseRejection,
  ImportModuleError,
  HandlerNotFound,
  MalformedHandlerName,
  UserCodeSyntaxError,
  StreamingNotSupported,
]) {
  kind.prototype.name = `Runtime.${kind.name}`;
}

function looksLikeError(value) {
  return (
    util.types.isNativeError(value) ||
    (value && ["name", "message", "stack"].every((key) => value[key] && typeof value[key] === "string"))
  );
}

/** What the caller is told. */
function errorDocument(error) {
  try {
    if (looksLikeError(error)) {
      const clean = (text) => (text === undefined || text === null ? undefined : text.replace(/\x7F/g, "%7F"));
      return { errorType: clean(error.name), errorMessage: clean(error.message), trace: clean(error.stack).split("\n") };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch (_) {
    return {
      errorType: "handled",
      errorMessage:
        "callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack",
    };
  }
}

function errorJson(error) {
  const document = errorDocument(error);
  const json = Buffer.from(JSON.stringify(document));
  if (json.length <= ANSWER_BYTES_MAX) return json;
  return Buffer.from(JSON.stringify({ ...document, errorMessage: document.errorMessage.slice(0, 65536), trace: [] }));
}

/** What the log shows, with all enumerable properties of every error in it. */
function errorForLog(value) {
  const error = value instanceof Error ? value : new Error(value);
  const withProperties = (_, part) => {
    if (!(part instanceof Error)) return part;
    const shown = { errorType: part.name, errorMessage: part.message, code: part.code, ...part };
    if (typeof part.stack === "string") shown.stack = part.stack.split("\n");
    return shown;
  };
  try {
    return "\t" + JSON.stringify(error, withProperties);
  } catch (_) {
    return "\t" + JSON.stringify(errorDocument(error));
  }
}

// ---- the channel

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Writes all of it before it returns; the descriptor may be non-blocking. */
function writeAllSync(descriptor, bytes) {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += fs.writeSync(descriptor, bytes, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(sleeper, 0, 0, 1);
    }
  }
}

function frame(kind, id, payload) {
  const bytes = Buffer.allocUnsafe(5 + id.length + payload.length);
  bytes.writeUInt32LE(1 + id.length + payload.length, 0);
  bytes[4] = kind;
  bytes.latin1Write(id, 5);
  payload.copy(bytes, 5 + id.length);
  return bytes;
}

function platformGone() {
  process.reallyExit ? process.reallyExit(0) : process.exit(0);
}

function send(kind, id, payload) {
  const bytes = frame(kind, id, payload);
  let at = 0;
  if (bytes.length <= SYNC_WRITE_BYTES_MAX) {
    try {
      at = fs.writeSync(CHANNEL, bytes);
    } catch (error) {
      if (error.code !== "EAGAIN") platformGone();
    }
  }
  if (at < bytes.length) channel.write(at ? bytes.subarray(at) : bytes);
}

/** Sends what is the last frame of this process. */
function sendLast(kind, id, error, status) {
  try {
    writeAllSync(CHANNEL, frame(kind, id, errorJson(error)));
  } finally {
    process.exit(status);
  }
}

let pending = NOTHING;
let whole = null;
let wholeAt = 0;

/** Gathers bytes into frames; a large one goes straight into its own buffer. */
function received(count, buffer) {
  let bytes = buffer.subarray(0, count);
  if (whole) {
    const taken = Math.min(bytes.length, whole.length - wholeAt);
    bytes.copy(whole, wholeAt, 0, taken);
    wholeAt += taken;
    if (wholeAt < whole.length) return true;
    const done = whole;
    whole = null;
    invoked(done);
    bytes = bytes.subarray(taken);
  }
  if (pending.length) bytes = Buffer.concat([pending, bytes]);
  pending = NOTHING;
  if (bytes.length < 4) {
    pending = Buffer.from(bytes);
    return true;
  }
  const length = bytes.readUInt32LE(0);
  if (bytes.length - 4 >= length) {
    invoked(bytes.subarray(4, 4 + length));
  } else {
    whole = Buffer.allocUnsafe(length);
    wholeAt = bytes.copy(whole, 0, 4);
  }
  return true;
}

const channel = new net.Socket({
  fd: CHANNEL,
  readable: true,
  writable: true,
  onread: { buffer: Buffer.allocUnsafeSlow(65536), callback: received },
});
channel.on("error", platformGone);
channel.on("end", platformGone);
channel.unref();

// ---- the log

const LOG_FRAME = 0xa55a0003;

/** One event of the log, whatever newlines it holds. */
function logEvent(text) {
  const length = Buffer.byteLength(text);
  const bytes = Buffer.allocUnsafe(8 + length);
  bytes.writeUInt32BE(LOG_FRAME, 0);
  bytes.writeUInt32LE(length, 4);
  bytes.utf8Write(text, 8);
  try {
    writeAllSync(1, bytes);
  } catch (_) {
    // The platform has gone, or the function closed its own output: nobody reads this.
  }
}

function patchConsole() {
  const levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
  const least = Math.max(0, levels.indexOf(String(process.env.AWS_LAMBDA_LOG_LEVEL).toUpperCase()));
  for (const level of levels) {
    console[level.toLowerCase()] =
      levels.indexOf(level) < least
        ? () => {}
        : (...args) => {
            logEvent(`${new Date().toISOString()}\t${requestId}\t${level}\t${util.format(...args)}`);
          };
  }
  console.log = console.info;
}

// ---- loading

const HANDLER = /^([^.]*)\.(.*)$/;

function isModuleFolder(folder) {
  if (folder.endsWith("/node_modules")) return false;
  const file = path.join(folder, "package.json");
  if (fs.existsSync(file)) {
    try {
      const description = JSON.parse(fs.readFileSync(file));
      if (description) return description.type === "module";
    } catch (error) {
      console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
      return false;
    }
  }
  return folder !== "/" && isModuleFolder(path.resolve(folder, ".."));
}

async function loadModule(folder, name) {
  const file = path.resolve(taskRoot, folder, name);
  const esm = (extension) => import(require("url").pathToFileURL(file + extension).href);
  if (fs.existsSync(file) && fs.statSync(file).isFile()) return require(file);
  if (fs.existsSync(file + ".js")) {
    return isModuleFolder(path.dirname(file)) ? await esm(".js") : require(file + ".js");
  }
  if (fs.existsSync(file + ".mjs")) return await esm(".mjs");
  if (fs.existsSync(file + ".cjs")) return require(file + ".cjs");
  return require(require.resolve(name, { paths: [taskRoot, path.resolve(taskRoot, folder)] }));
}

async function loadHandler(full) {
  if (full.includes("..")) {
    throw new MalformedHandlerName(
      `'${full}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`
    );
  }
  const base = path.basename(full);
  const match = base.match(HANDLER);
  if (!match) throw new MalformedHandlerName("Bad handler");
  let loaded;
  try {
    loaded = await loadModule(full.substring(0, full.indexOf(base)), match[1]);
  } catch (error) {
    if (error instanceof SyntaxError) throw new UserCodeSyntaxError(error);
    if (error && error.code === "MODULE_NOT_FOUND") throw new ImportModuleError(error);
    throw error;
  }
  const handler = match[2].split(".").reduce((nested, key) => nested && nested[key], loaded);
  if (!handler) throw new HandlerNotFound(`${full} is undefined or not exported`);
  if (typeof handler !== "function") throw new HandlerNotFound(`${full} is not a function`);
  return handler;
}

globalThis.awslambda = {
  streamifyResponse() {
    throw new StreamingNotSupported("awslambda.streamifyResponse: response streaming is not served yet");
  },
  HttpResponseStream: class HttpResponseStream {
    static from() {
      throw new StreamingNotSupported("awslambda.HttpResponseStream: response streaming is not served yet");
    }
  },
};

// ---- invocations

let handler;
// What the event loop's end means right now: Lambda answers only then, unless told not to wait.
let onLoopEnd = () => {};
let onFatal = (error, status) => sendLast(INIT_ERROR, "", error, status);

function parseHeader(text, name) {
  if (text === undefined || text === null) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Cannot parse ${name} as json: ${error.toString()}`);
  }
}

/** While an invocation runs, the channel does not keep the event loop alive: its end is a signal. */
function waitForWork() {
  onLoopEnd = () => {};
  channel.ref();
}

function invoked(body) {
  if (body[0] !== INVOKE) return process.exit(70);
  const eventAt = 5 + body.readUInt32LE(1);
  const header = JSON.parse(body.utf8Slice(5, eventAt));
  const event = body.utf8Slice(eventAt, body.length);
  const id = header.requestId;
  requestId = id;
  channel.unref();

  let answered = false;
  const answer = (result) => {
    if (answered) {
      console.error("Invocation has already been reported as done. Cannot call complete more than once per invocation.");
      return;
    }
    let payload;
    try {
      // A function or a symbol as the whole answer is serialized to nothing.
      const json = JSON.stringify(result === undefined ? null : result);
      payload = Buffer.from(json === undefined ? "null" : json);
    } catch (_) {
      throw new Error("Unable to stringify response body");
    }
    answered = true;
    if (payload.length > ANSWER_BYTES_MAX) {
      const size = Buffer.alloc(8);
      size.writeUInt32LE(payload.length, 0);
      send(TOO_LARGE, id, size);
    } else {
      send(ANSWER, id, payload);
    }
    waitForWork();
  };
  const fail = (error) => {
    if (answered) return;
    answered = true;
    console.error("Invoke Error", errorForLog(error));
    send(ERROR, id, errorJson(error));
    waitForWork();
  };
  onFatal = (error, status) => sendLast(FATAL_ERROR, id, error, status);
  onLoopEnd = () => answer(null);

  let waits = true;
  let finished = false;
  const once = (act) => (...args) => {
    if (finished) return;
    act(...args);
    finished = true;
  };
  const given = (error) => error !== undefined && error !== null;
  const callback = once((error, result) => {
    onLoopEnd = () => {};
    if (given(error)) fail(error);
    else if (!waits) answer(result);
    else onLoopEnd = () => setImmediate(() => answer(result));
  });
  const done = (error, result) => {
    onLoopEnd = () => {};
    if (given(error)) fail(error);
    else answer(result);
  };
  const context = {
    get callbackWaitsForEmptyEventLoop() {
      return waits;
    },
    set callbackWaitsForEmptyEventLoop(value) {
      waits = value;
    },
    succeed: once((result) => done(null, result)),
    fail: once((error) => done(given(error) ? error : "handled")),
    done: once(done),
  };
  try {
    if (header.traceId) process.env._X_AMZN_TRACE_ID = header.traceId;
    else delete process.env._X_AMZN_TRACE_ID;
    const parsed = JSON.parse(event);
    Object.assign(context, {
      functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
      functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
      memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
      logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
      logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
      clientContext: parseHeader(header.clientContext, "ClientContext"),
      identity: parseHeader(header.cognitoIdentity, "CognitoIdentity"),
      invokedFunctionArn: header.functionArn,
      awsRequestId: id,
      tenantId: undefined,
      getRemainingTimeInMillis: () => header.deadlineMs - Date.now(),
    });
    const result = handler(parsed, context, callback);
    if (result && typeof result.then === "function") {
      result.then(context.succeed, context.fail).catch(context.fail);
    }
  } catch (error) {
    callback(error);
  }
}

patchConsole();
process.on("uncaughtException", (error) => {
  console.error("Uncaught Exception", errorForLog(error));
  onFatal(error, 129);
});
process.on("unhandledRejection", (reason, promise) => {
  const error = new UnhandledPromiseRejection(reason, promise);
  console.error("Unhandled Promise Rejection", errorForLog(error));
  onFatal(error, 128);
});
process.on("beforeExit", () => onLoopEnd());

loadHandler(process.env._HANDLER || "").then(
  (loaded) => {
    handler = loaded;
    send(READY, "", NOTHING);
    waitForWork();
  },
  (error) => {
    console.error("Uncaught Exception", errorForLog(error));
    onFatal(error, 129);
  }
);
