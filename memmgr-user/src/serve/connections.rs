//! Connections: how many, how long, how much. One request each.

use std::{collections::VecDeque, future::Future, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use super::own::Own;

/// What clients get.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections. One more ends the oldest: who asks something has an answer in a moment, so that the oldest of
    /// many is one that asks nothing.
    pub connections: usize,
    /// Time for the whole head of a request.
    pub head: Duration,
    /// Time for everything: head, answer, and taking the answer.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { connections: 128, head: Duration::from_secs(5), whole: Duration::from_secs(15) }
    }
}

/// Bytes of the head of a request; Prometheus and browsers send less than 2 KiB.
const HEAD_BYTES: usize = 16 << 10;
/// Lines of it.
const HEAD_LINES: usize = 64;
/// How long answers that are under way when the server ends may take.
const GRACE: Duration = Duration::from_secs(1);
/// After the kernel refused a connection, because there are no descriptors for instance.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until `stop`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    own: Arc<Own>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let mut open = JoinSet::new();
    let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                oldest.retain(|connection| !connection.is_finished());
                if oldest.len() >= limits.connections
                    && let Some(connection) = oldest.pop_front()
                {
                    connection.abort();
                    own.cut();
                }
                let connection = connection(stream, router.clone(), limits, Arc::clone(&own));
                oldest.push_back(open.spawn(connection));
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    // What is not done by then ends with the set.
    let _ = timeout(GRACE, async { while open.join_next().await.is_some() {} }).await;
}

async fn connection(stream: TcpStream, router: Router, limits: Limits, own: Arc<Own>) {
    let service = TowerToHyperService::new(router);
    let answered = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_LINES)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(limits.whole, answered).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is_timeout() => own.cut(),
        // A client that goes away, or speaks something else, is no matter of ours.
        Ok(Err(error)) => tracing::debug!("a connection ended: {error}"),
        Err(_) => own.cut(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpStream},
        thread,
        time::Instant,
    };

    use axum::routing::get;
    use tokio::sync::oneshot;

    use super::*;

    /// A server of 4 connections whose every answer is 8 MiB, more than the buffers of a socket hold.
    struct Server {
        address: SocketAddr,
        own: Arc<Own>,
        stop: Option<oneshot::Sender<()>>,
        thread: Option<thread::JoinHandle<()>>,
    }

    impl Server {
        fn start(head: Duration, whole: Duration) -> Self {
            let own = Arc::new(Own::default());
            let (stop, stopped) = oneshot::channel();
            let (address, addresses) = std::sync::mpsc::channel();
            let counted = Arc::clone(&own);
            let thread = thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    address.send(listener.local_addr().unwrap()).unwrap();
                    let router = Router::new().route("/", get(|| async { vec![b'x'; 8 << 20] }));
                    let limits = Limits { connections: 4, head, whole };
                    let stop = async { drop(stopped.await) };
                    serve(listener, router, limits, counted, stop).await;
                });
            });
            let address = addresses.recv().unwrap();
            Server { address, own, stop: Some(stop), thread: Some(thread) }
        }

        fn connect(&self, sent: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
            stream.write_all(sent.as_bytes()).unwrap();
            stream
        }

        /// They are counted a moment after the client sees them.
        #[track_caller]
        fn wait_for_cuts(&self, count: u64) {
            let begin = Instant::now();
            while self.own.cuts() < count {
                assert!(begin.elapsed() < Duration::from_mins(1), "{} cuts", self.own.cuts());
                thread::sleep(Duration::from_millis(5));
            }
        }

        fn whole_answer(&self) -> usize {
            all(self.connect("GET / HTTP/1.1\r\nhost: a\r\n\r\n")).0
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            drop(self.stop.take());
            self.thread.take().unwrap().join().unwrap();
        }
    }

    /// How much is read until the end, and how it begins. A connection that is cut off may end with an error.
    fn all(mut stream: TcpStream) -> (usize, String) {
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read);
        (read.len(), String::from_utf8_lossy(&read[..read.len().min(16)]).into_owned())
    }

    const LONG: Duration = Duration::from_mins(10);

    #[test]
    fn one_that_says_nothing_or_little_is_cut_off() {
        let server = Server::start(Duration::from_millis(100), LONG);
        for (before, sent) in (0..).zip(["", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n"]) {
            let begin = Instant::now();
            let (length, _) = all(server.connect(sent));
            assert!(length < 200, "{sent:?}: {length} bytes");
            assert!(begin.elapsed() >= Duration::from_millis(90), "{sent:?}");
            server.wait_for_cuts(before + 1);
        }
    }

    #[test]
    fn one_that_takes_no_answer_is_cut_off() {
        let server = Server::start(LONG, Duration::from_millis(200));
        let slow = server.connect("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        server.wait_for_cuts(1);
        assert!(all(slow).0 < 8 << 20);
    }

    #[test]
    fn many_that_ask_nothing_keep_nobody_out() {
        let server = Server::start(LONG, LONG);
        let idle: Vec<TcpStream> = (0..50).map(|_| server.connect("GET")).collect();
        assert!(server.whole_answer() > 8 << 20);
        server.wait_for_cuts(47);
        drop(idle);
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let server = Server::start(LONG, LONG);
        let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(HEAD_BYTES));
        let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(HEAD_LINES));
        for sent in [long, many] {
            let (_, begin) = all(server.connect(&sent));
            assert!(begin.starts_with("HTTP/1.1 431"), "{begin}");
        }
    }

    #[test]
    fn one_connection_is_one_request() {
        let server = Server::start(LONG, LONG);
        let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let one = server.whole_answer();
        assert!(one > 8 << 20);
        assert_eq!(all(server.connect(&request.repeat(2))).0, one);
    }

    #[test]
    fn the_end_waits_for_answers_and_not_for_clients() {
        let server = Server::start(LONG, LONG);
        let _idle = server.connect("GET");
        let begin = Instant::now();
        drop(server);
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    }
}
