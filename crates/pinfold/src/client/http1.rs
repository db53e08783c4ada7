//! One HTTP/1.1 exchange over a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::find::Endpoint;
use super::{Answer, ClientError};

/// A server on this machine or near it accepts at once, or not at all.
const CONNECT_MAX: Duration = Duration::from_secs(5);

pub(super) async fn exchange(
    endpoint: &Endpoint,
    request: http::Request<Bytes>,
    answer_bytes_max: usize,
) -> Result<Answer, ClientError> {
    let broken = |source| ClientError::Broken { endpoint: endpoint.to_string(), source };
    let stream = connect(endpoint).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
    let carry = async {
        let response = sender.send_request(request.map(Full::new)).await.map_err(|error| broken(error.into()))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, answer_bytes_max).collect().await.map_err(broken)?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    };
    tokio::pin!(carry);
    tokio::select! {
        answer = &mut carry => answer,
        // The connection may be over before its last answer has been read.
        ended = connection => match ended {
            Err(error) => Err(broken(error.into())),
            Ok(()) => carry.await,
        },
    }
}

async fn connect(endpoint: &Endpoint) -> Result<TcpStream, ClientError> {
    let unreachable = |source| ClientError::Unreachable { endpoint: endpoint.to_string(), source };
    match tokio::time::timeout(CONNECT_MAX, TcpStream::connect((endpoint.host.as_str(), endpoint.port))).await {
        Err(_) => Err(unreachable(std::io::ErrorKind::TimedOut.into())),
        Ok(Err(source)) => Err(unreachable(source)),
        Ok(Ok(stream)) => {
            stream.set_nodelay(true).map_err(unreachable)?;
            Ok(stream)
        }
    }
}
