//! Notices that a client has left while the parser does not listen to it: behind the request that is being served stand further
//! bytes, and the end of the stream behind those would be read last. Without this the upstream would work to its end for nobody.
//!
//! Reads nothing, so it needs no memory, however much the client has sent ahead: the kernel says that the other side has closed.

use crate::client_io::Client;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// How often the kernel's word is looked at, while there are such bytes. There is no wake-up for it that unread bytes would not
/// set off too; against the minute that an upstream may take, a second late is early.
const GLANCE: Duration = Duration::from_secs(1);

/// Looks now and then; costs a timer of the connections that need it, and nothing of the others.
#[derive(Default)]
pub(crate) struct Leaving(Option<Pin<Box<Sleep>>>);

impl Leaving {
    /// Ready when the client has left. Asked whenever the connection has been polled.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, client: &Client) -> Poll<()> {
        if !client.is_unheard() {
            return Poll::Pending;
        }
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep(GLANCE)));
        while timer.as_mut().poll(cx).is_ready() {
            if client.has_closed() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + GLANCE);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Scheme;
    use crate::client_io::{ClientFacts, ClientStream};
    use crate::framing::HeadLimits;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    /// A client's end, and the gateway's.
    async fn pair() -> (TcpStream, std::rc::Rc<Client>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (near, peer) = listener.accept().await.unwrap();
        let long = Duration::from_secs(60);
        let facts = ClientFacts {
            peer,
            peer_text: "".into(),
            local_port: "".into(),
            scheme: Scheme::Http,
            trusted: false,
            limits: HeadLimits { head: 1, target: 1, headers: 1 },
            head_timeout: long,
            body_timeout: long,
            send_timeout: long,
            keepalive_timeout: long,
        };
        (far, Client::new(ClientStream::Plain(near), facts))
    }

    #[tokio::test]
    async fn only_a_close_is_a_close_however_much_waits_before_it() {
        let (mut far, client) = pair().await;
        assert!(!client.has_closed());
        far.write_all(&[b'x'; 4096]).await.unwrap();
        client.has_bytes().await;
        assert!(!client.has_closed(), "unread bytes are none");
        drop(far);
        tokio::time::timeout(Duration::from_secs(20), async {
            while !client.has_closed() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the close is seen behind them");
    }
}
