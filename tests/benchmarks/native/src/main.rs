//! The least that answers HTTP as the app does: what a runtime is measured against.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    content-type: text/plain\r\n\
    content-length: 14\r\n\
    \r\n\
    Hello, Fermyon";

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        // An empty line ends a request without a body.
        if line?.is_empty() {
            stream.write_all(ANSWER)?;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    for stream in TcpListener::bind("0.0.0.0:8000")?.incoming() {
        let stream = stream?;
        thread::spawn(move || answer(stream));
    }
    Ok(())
}
