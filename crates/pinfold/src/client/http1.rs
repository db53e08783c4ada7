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

#[cfg(test)]
mod tests {

    use http::Method;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::find::Key;
    use super::super::{Call, Client, Target};
    use super::*;

    fn client(port: u16) -> Client {
        Client::new(Target {
            endpoint: Endpoint { host: "127.0.0.1".into(), port },
            key: Key { id: "AKIA".into(), secret: "s".into(), session_token: Some("token".into()) },
            region: "us-east-1".into(),
        })
    }

    /// What the server saw, and what the client made of the answer.
    async fn ask(answer: &'static str) -> (String, Result<Answer, ClientError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut seen = vec![0; 4096];
            let read = stream.read(&mut seen).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("written");
            String::from_utf8_lossy(&seen[..read]).into_owned()
        });
        let answer = client(port).call(Call::new("lambda", Method::GET, "/a%3Ab?c=d")).await;
        (server.await.expect("it answered"), answer)
    }

    #[tokio::test]
    async fn a_request_is_signed_and_its_answer_read_to_the_end() {
        let (seen, answer) = ask("HTTP/1.1 200 OK\r\nx-y: z\r\ncontent-length: 2\r\n\r\nhi").await;
        assert!(seen.starts_with("GET /a%3Ab?c=d HTTP/1.1\r\nhost: 127.0.0.1:"), "{seen}");
        for part in [
            "authorization: AWS4-HMAC-SHA256 Credential=AKIA/",
            "/us-east-1/lambda/aws4_request",
            "x-amz-security-token: token",
        ] {
            assert!(seen.contains(part), "{part} in {seen}");
        }
        let answer = answer.expect("it was good");
        assert_eq!((answer.status, answer.header("x-y"), &answer.body[..]), (200, "z", &b"hi"[..]));
        // Without a length the end of the connection is the end of the answer.
        assert_eq!(&ask("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi").await.1.expect("good").body[..], b"hi");
    }

    #[tokio::test]
    async fn each_way_to_fail_has_its_name() {
        let refused =
            ask("HTTP/1.1 404 N\r\nx-amzn-errortype: E\r\ncontent-length: 15\r\n\r\n{\"Message\":\"m\"}").await.1;
        assert!(matches!(refused, Err(ClientError::Refused { status: 404, .. })), "{refused:?}");
        let broken = ask("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi").await.1;
        assert!(matches!(broken, Err(ClientError::Broken { .. })), "{broken:?}");
        let strange = ask("SSH-2.0-OpenSSH\r\n\r\n").await.1;
        assert!(matches!(strange, Err(ClientError::Broken { .. })), "{strange:?}");
        let port = {
            let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            taken.local_addr().expect("bound").port()
        };
        let nobody = client(port).call(Call::new("lambda", Method::GET, "/")).await;
        assert!(matches!(nobody, Err(ClientError::Unreachable { .. })), "{nobody:?}");
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = silent.local_addr().expect("bound").port();
        let late = client(port).call(Call::new("lambda", Method::GET, "/").within(Duration::from_millis(50))).await;
        assert!(matches!(late, Err(ClientError::TimedOut { .. })), "{late:?}");
    }
}
