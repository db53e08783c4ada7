//! The lower bound of a warm invocation: a bare hyper server that forwards each body over the same transport to the same
//! bootstrap, in an ordinary process. It checks no signature, writes no log, meters nothing.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::sample::Sample;

const PYTHON_PACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/sandbox/packs/python/bootstrap.py");
const NODE_PACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/sandbox/packs/node/bootstrap.cjs");
const INVOKE: u8 = 1;
const READY: u8 = 2;
const ANSWER: u8 = 4;
const REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

/// Serves on a free port until killed; prints the address first.
pub(crate) async fn serve(sample: &str, code_dir: &str) -> Result<()> {
    let guest = Arc::new(Mutex::new(Guest::start(Sample::of_name(sample)?, Path::new(code_dir)).await?));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let guest = guest.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let guest = guest.clone();
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    let answer = guest.lock().await.forward(&body).await?;
                    anyhow::Ok(Response::new(Full::new(answer)))
                }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            if let Err(error) = served {
                eprintln!("bound: {error}");
            }
        });
    }
}

/// The bootstrap and the way to it.
struct Guest {
    _child: Child,
    transport: Transport,
}

enum Transport {
    Frames(UnixStream),
    /// Two connections of the bootstrap's own client: it polls on one and answers on the same or another.
    Http(Polls),
}

impl Guest {
    async fn start(sample: Sample, code_dir: &Path) -> Result<Self> {
        let (program, pack) = match sample {
            Sample::Python => ("python3", Some(PYTHON_PACK)),
            Sample::Node => ("node", Some(NODE_PACK)),
            Sample::Native => return Self::start_native(code_dir).await,
        };
        let (ours, theirs) = StdUnixStream::pair()?;
        let program = sandbox::Packs::new()
            .serve(sample.language())
            .ok()
            .and_then(|served| served.interpreter)
            .map_or_else(|| program.into(), |found| found.path);
        // The shell moves the socket from standard input to where the pack expects it.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<&0 0</dev/null", "sh"]).arg(program).args(pack);
        command.env("_HANDLER", "app.handler").env("LAMBDA_TASK_ROOT", code_dir).current_dir(code_dir);
        command.stdin(std::os::fd::OwnedFd::from(theirs)).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn()?;
        ours.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(ours)?;
        while read_frame(&mut stream).await?.0 != READY {}
        Ok(Self { _child: child, transport: Transport::Frames(stream) })
    }

    async fn start_native(code_dir: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut command = Command::new(code_dir.join("bootstrap"));
        command
            .env("AWS_LAMBDA_RUNTIME_API", listener.local_addr()?.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "bench")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "bench")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Its last words when the bound ends are about the bound's end.
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let child = command.spawn()?;
        Ok(Self { _child: child, transport: Transport::Http(Polls::new(listener)) })
    }

    async fn forward(&mut self, event: &[u8]) -> Result<Bytes> {
        match &mut self.transport {
            Transport::Frames(stream) => {
                let header = format!(
                    "{{\"requestId\":\"{REQUEST_ID}\",\"deadlineMs\":9999999999999,\"functionArn\":\"arn\",\"traceId\":\"\"}}"
                );
                let mut frame = Vec::with_capacity(9 + header.len() + event.len());
                frame.extend_from_slice(&u32::try_from(5 + header.len() + event.len())?.to_le_bytes());
                frame.push(INVOKE);
                frame.extend_from_slice(&u32::try_from(header.len())?.to_le_bytes());
                frame.extend_from_slice(header.as_bytes());
                frame.extend_from_slice(event);
                stream.write_all(&frame).await?;
                let (kind, body) = read_frame(stream).await?;
                ensure!(kind == ANSWER, "the bootstrap answered with a frame of kind {kind}");
                Ok(body.slice(REQUEST_ID.len()..))
            }
            Transport::Http(polls) => polls.forward(event).await,
        }
    }
}

async fn read_frame(stream: &mut UnixStream) -> Result<(u8, Bytes)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let mut body = vec![0; length.saturating_sub(1)];
    stream.read_exact(&mut body).await?;
    Ok((head[4], Bytes::from(body)))
}

/// The least of a Runtime API that a bootstrap can work with, over the connections that it makes.
struct Polls {
    listener: TcpListener,
    /// The connection on which the bootstrap waits for work.
    waiting: Option<BufReader<TcpStream>>,
}

impl Polls {
    fn new(listener: TcpListener) -> Self {
        Self { listener, waiting: None }
    }

    async fn forward(&mut self, event: &[u8]) -> Result<Bytes> {
        let mut connection = match self.waiting.take() {
            Some(connection) => connection,
            None => {
                let (_, connection) = self.next_request(None).await?;
                connection
            }
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             lambda-runtime-aws-request-id: {REQUEST_ID}\r\nlambda-runtime-deadline-ms: 9999999999999\r\n\
             lambda-runtime-invoked-function-arn: arn\r\nlambda-runtime-trace-id: Root=1\r\n\r\n",
            event.len()
        );
        connection.get_mut().write_all(&[head.as_bytes(), event].concat()).await?;
        let ((path, body), mut connection) = self.next_request(Some(connection)).await?;
        ensure!(path.ends_with("/response"), "the bootstrap asked for {path}");
        connection.get_mut().write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await?;
        let ((path, _), connection) = self.next_request(Some(connection)).await?;
        ensure!(path.ends_with("/next"), "the bootstrap asked for {path}");
        self.waiting = Some(connection);
        Ok(body)
    }

    /// The bootstrap's next request, on the connection it has or on a new one.
    async fn next_request(
        &mut self,
        connection: Option<BufReader<TcpStream>>,
    ) -> Result<((String, Bytes), BufReader<TcpStream>)> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => {
                let (stream, _) = self.listener.accept().await?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        let path = line.split(' ').nth(1).context("a path")?.to_owned();
        let mut length = 0;
        let mut chunked = false;
        loop {
            line.clear();
            ensure!(connection.read_line(&mut line).await? > 0, "the bootstrap closed its connection");
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(text) = header.strip_prefix("content-length:") {
                length = text.trim().parse()?;
            }
            chunked |= header == "transfer-encoding: chunked";
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await?;
        if chunked {
            body = read_chunks(&mut connection).await?;
        }
        Ok(((path, Bytes::from(body)), connection))
    }
}

async fn read_chunks(connection: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        let size = usize::from_str_radix(line.trim(), 16)?;
        let mut chunk = vec![0; size + 2];
        connection.read_exact(&mut chunk).await?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
