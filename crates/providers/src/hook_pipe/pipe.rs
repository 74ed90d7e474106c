//! One connection to the hook's pipe: a Windows named pipe, or a Unix socket elsewhere.

use super::wire::{HookReply, MAX_REPLY_BYTES};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// Late replies to earlier requests that are read past before the connection counts as broken.
const MOST_LATE_REPLIES: u32 = 64;

trait PipeStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> PipeStream for T {}

/// Why there is no connection. Nothing was sent.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// There is no such pipe: nobody has made it.
    Absent(String),
    /// Another client has it.
    Busy,
    /// Anything else.
    Failed(String),
}

/// Why an exchange brought no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PipeError {
    /// It didn't come in time.
    Late(Duration),
    /// The connection broke, or what came over it was no reply.
    Broken(String),
}

impl fmt::Display for PipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PipeError::Late(patience) => write!(f, "no reply came within {} ms", patience.as_millis()),
            PipeError::Broken(reason) => write!(f, "the pipe broke: {reason}"),
        }
    }
}

/// A connection. Dropping it closes it.
pub(super) struct Pipe {
    frames: Framed<Box<dyn PipeStream>, LengthDelimitedCodec>,
}

impl Pipe {
    /// Connects, waiting at most this long for another client to leave.
    pub(super) async fn open(name: &str, patience: Duration) -> Result<Self, ConnectError> {
        let stream = match tokio::time::timeout(patience, connect(name)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let reason = format!("{name}: {error}");
                return Err(match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        ConnectError::Absent(reason)
                    }
                    _ => ConnectError::Failed(reason),
                });
            }
            Err(_) => return Err(ConnectError::Busy),
        };
        let codec = LengthDelimitedCodec::builder()
            .little_endian()
            .length_field_length(4)
            .max_frame_length(MAX_REPLY_BYTES)
            .new_codec();
        Ok(Self { frames: Framed::new(stream, codec) })
    }

    /// Whether the other side is still there; reads past what it said too late.
    pub(super) fn is_alive(&mut self) -> bool {
        for _ in 0..MOST_LATE_REPLIES {
            match self.frames.next().now_or_never() {
                None => return true,
                Some(Some(Ok(_late))) => {}
                Some(Some(Err(_)) | None) => return false,
            }
        }
        false
    }

    /// Sends a frame and waits for the reply with this task id, at most this long.
    pub(super) async fn ask(
        &mut self,
        frame: Bytes,
        task_id: &str,
        patience: Duration,
    ) -> Result<HookReply, PipeError> {
        match tokio::time::timeout(patience, self.exchange(frame, task_id)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(reason)) => Err(PipeError::Broken(reason)),
            Err(_) => Err(PipeError::Late(patience)),
        }
    }

    async fn exchange(&mut self, frame: Bytes, task_id: &str) -> Result<HookReply, String> {
        self.frames.send(frame).await.map_err(|error| error.to_string())?;
        for _ in 0..MOST_LATE_REPLIES {
            let frame: BytesMut = match self.frames.next().await {
                Some(frame) => frame.map_err(|error| error.to_string())?,
                None => return Err("the hook closed it".into()),
            };
            let reply =
                HookReply::read(&frame).map_err(|error| format!("what came back is no reply: {error}"))?;
            if reply.answers(task_id) {
                return Ok(reply);
            }
            // The late reply to a request that was given up. It says nothing about this one.
            tracing::debug!(task_id, "the hook answered something else first");
        }
        Err("it answers only what nobody asks any more".into())
    }
}

#[cfg(unix)]
async fn connect(name: &str) -> io::Result<Box<dyn PipeStream>> {
    Ok(Box::new(tokio::net::UnixStream::connect(name).await?))
}

#[cfg(windows)]
async fn connect(name: &str) -> io::Result<Box<dyn PipeStream>> {
    use tokio::net::windows::named_pipe::ClientOptions;
    /// All instances of the pipe are taken (ERROR_PIPE_BUSY).
    const PIPE_BUSY: i32 = 231;
    /// There is no event to wait for.
    const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);
    loop {
        match ClientOptions::new().open(name) {
            Ok(pipe) => return Ok(Box::new(pipe)),
            Err(error) if error.raw_os_error() == Some(PIPE_BUSY) => {
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::future::Future;
    use std::path::Path;

    /// Far more than anything here takes.
    const LONG: Duration = Duration::from_secs(60);

    type Server = Framed<Box<dyn PipeStream>, LengthDelimitedCodec>;

    #[cfg(unix)]
    fn name(directory: &Path) -> String {
        directory.join("hook").to_str().unwrap().to_owned()
    }

    /// Makes the pipe at once; the future waits for its client.
    #[cfg(unix)]
    fn serve(name: &str) -> impl Future<Output = Server> + use<> {
        let listener = tokio::net::UnixListener::bind(name).unwrap();
        async move { framed(Box::new(listener.accept().await.unwrap().0)) }
    }

    #[cfg(windows)]
    fn name(directory: &Path) -> String {
        format!(r"\\.\pipe\commentd-{}", directory.file_name().unwrap().to_str().unwrap())
    }

    /// Makes the pipe at once, for one client as the hook does; the future waits for it.
    #[cfg(windows)]
    fn serve(name: &str) -> impl Future<Output = Server> + use<> {
        use tokio::net::windows::named_pipe::ServerOptions;
        let server = ServerOptions::new().max_instances(1).create(name).unwrap();
        async move {
            server.connect().await.unwrap();
            framed(Box::new(server))
        }
    }

    fn framed(stream: Box<dyn PipeStream>) -> Server {
        Framed::new(stream, LengthDelimitedCodec::builder().little_endian().new_codec())
    }

    async fn connected(directory: &Path) -> (Pipe, Server) {
        let name = name(directory);
        let server = serve(&name);
        let (pipe, server) = tokio::join!(Pipe::open(&name, LONG), server);
        let Ok(pipe) = pipe else { panic!("no connection") };
        (pipe, server)
    }

    fn bytes(json: &Value) -> Bytes {
        json.to_string().into()
    }

    #[tokio::test]
    async fn the_pipe_reads_past_the_reply_to_an_earlier_request() {
        let directory = tempfile::tempdir().unwrap();
        let (mut pipe, mut server) = connected(directory.path()).await;
        let answers = async {
            let asked = server.next().await.unwrap().unwrap();
            server.send(bytes(&json!({"ok": false, "task_id": "before"}))).await.unwrap();
            server.send(bytes(&json!({"ok": true, "task_id": "now"}))).await.unwrap();
            asked
        };
        let (reply, asked) = tokio::join!(pipe.ask(bytes(&json!({"v": 1})), "now", LONG), answers);
        assert!(reply.unwrap().ok);
        assert_eq!(&asked[..], br#"{"v":1}"#);
        assert!(pipe.is_alive());
    }

    #[tokio::test]
    async fn the_pipe_is_late_while_the_hook_is_silent_and_broken_once_it_leaves_in_the_middle() {
        let directory = tempfile::tempdir().unwrap();
        let (mut pipe, mut server) = connected(directory.path()).await;
        let patience = Duration::from_millis(20);
        let late = pipe.ask(bytes(&json!({"v": 1})), "now", patience).await;
        assert_eq!(late.unwrap_err(), PipeError::Late(patience));
        assert!(pipe.is_alive());
        let leaves = async move {
            for _ in 0..2 {
                server.next().await.unwrap().unwrap();
            }
            let half = [&100_u32.to_le_bytes()[..], br#"{"ok": true"#].concat();
            tokio::io::AsyncWriteExt::write_all(server.get_mut(), &half).await.unwrap();
        };
        let (broken, ()) = tokio::join!(pipe.ask(bytes(&json!({"v": 1})), "now", LONG), leaves);
        assert!(matches!(broken.unwrap_err(), PipeError::Broken(_)));
        assert!(!pipe.is_alive());
    }

    #[tokio::test]
    async fn a_pipe_that_nobody_made_is_absent() {
        let directory = tempfile::tempdir().unwrap();
        let opened = Pipe::open(&name(directory.path()), LONG).await;
        assert!(matches!(opened, Err(ConnectError::Absent(_))));
    }

    /// A Unix socket lets its clients queue instead.
    #[cfg(windows)]
    #[tokio::test]
    async fn a_pipe_that_another_client_has_is_busy() {
        let directory = tempfile::tempdir().unwrap();
        let _connected = connected(directory.path()).await;
        let opened = Pipe::open(&name(directory.path()), Duration::from_millis(100)).await;
        assert!(matches!(opened, Err(ConnectError::Busy)));
    }
}
