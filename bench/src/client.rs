//! A client that costs as little as possible: one connection, one prepared request, sent again and again.
//!
//! A signature covers the time and the body, so one signed request may be sent many times within a quarter of an hour:
//! what is measured is the server's work, and the client's is the same for ours and for the bound.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base::time::{Clock as _, SystemClock};
use http::{HeaderMap, HeaderValue, Method};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::Parts;
use wire::sigv4::{BodyHash, Credentials, sign};

use crate::stats::Durations;

/// How to reach a server and sign for it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `127.0.0.1:4566`.
    pub(crate) address: String,
    pub(crate) access_key_id: String,
    pub(crate) secret: String,
    pub(crate) region: String,
}

/// The bytes of a signed request.
pub(crate) fn request(target: &Target, method: &Method, path: &str, body: &[u8]) -> Result<Vec<u8>> {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_str(&target.address)?);
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let parts = Parts { method, path, query: "", headers: &headers };
    let credentials = Credentials { access_key_id: &target.access_key_id, secret: &target.secret, session_token: None };
    let added = sign(&parts, BodyHash::Of(body), credentials, &target.region, "lambda", SystemClock.now());
    headers.extend(added);
    let mut bytes = format!("{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in &headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// One kept-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer: status and body.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) function_error: bool,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    /// Sends prepared bytes and reads the whole answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<Reply> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
            let Some(head_end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..head_end])?.to_ascii_lowercase();
            let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).context("a status")?;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(Ok(0), str::parse)?;
            let function_error = head.contains("x-amz-function-error");
            let body_start = head_end + 4;
            while self.buffer.len() < body_start + length {
                ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the answer broke off");
            }
            let body = self.buffer[body_start..body_start + length].to_vec();
            return Ok(Reply { status, body, function_error });
        }
    }

    /// Sends the same request `count` times, one after the other.
    pub(crate) async fn closed_loop(&mut self, request: &[u8], count: usize) -> Result<Durations> {
        let mut durations = Durations::default();
        for _ in 0..count {
            let begun = Instant::now();
            let reply = self.send(request).await?;
            durations.push(begun.elapsed());
            ensure!(
                reply.status == 200 && !reply.function_error,
                "{}: {}",
                reply.status,
                String::from_utf8_lossy(&reply.body)
            );
        }
        Ok(durations)
    }
}

/// Wakes a task at an instant; the runtime's own timers are a millisecond coarse, longer than what is measured.
struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    fn new() -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd keeps what that one asks for")]
        let timer = AsyncFd::new(timer)?;
        Ok(Self(timer))
    }

    async fn until(&self, at: Instant) -> Result<()> {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let it_value = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        let mut rung = self.0.readable().await?;
        rustix::io::read(&self.0, &mut [0; 8])?;
        rung.clear_ready();
        Ok(())
    }
}

/// Requests a second that `connections` closed loops reach together.
pub(crate) async fn capacity(address: &str, request: &[u8], connections: usize, length: Duration) -> Result<f64> {
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let mut connection = Connection::open(address).await?;
        let request = request.to_vec();
        tasks.push(tokio::spawn(async move {
            let mut count = 0_u64;
            while begun.elapsed() < length {
                let reply = connection.send(&request).await?;
                ensure!(reply.status == 200, "{}", reply.status);
                count += 1;
            }
            Ok(count)
        }));
    }
    let mut total = 0;
    for task in tasks {
        total += task.await??;
    }
    Ok(total as f64 / begun.elapsed().as_secs_f64())
}

/// Sends at a fixed rate, whatever the server does; a latency counts from the moment at which the request was due.
pub(crate) async fn open_loop(
    address: &str,
    request: &[u8],
    connections: usize,
    rate: f64,
    length: Duration,
) -> Result<Durations> {
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for index in 0..connections {
        let mut connection = Connection::open(address).await?;
        let request = request.to_vec();
        let alarm = Alarm::new()?;
        tasks.push(tokio::spawn(async move {
            let mut durations = Durations::default();
            for turn in 0_u32.. {
                let number = f64::from(turn) * connections as f64 + index as f64;
                let due = begun + Duration::from_secs_f64(number / rate);
                if due.duration_since(begun) > length {
                    break;
                }
                alarm.until(due).await?;
                let reply = connection.send(&request).await?;
                durations.push(due.elapsed());
                ensure!(reply.status == 200, "{}", reply.status);
            }
            Ok(durations)
        }));
    }
    let mut all = Durations::default();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}
