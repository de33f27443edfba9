//! Wants a login on `/`, sets two cookies, streams 20 MB, and takes whatever is sent to it.

use wasi::exports::http::incoming_handler::Guest;
use wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasi::io::streams::{OutputStream, StreamError};

const STREAMED: usize = 20 << 20;
const PIECE: usize = 4096; // as much as one blocking write takes

fn answer(
    out: ResponseOutparam,
    status: u16,
    headers: &[(&str, &str)],
    write: impl FnOnce(&OutputStream) -> Result<(), StreamError>,
) {
    let fields: Vec<(String, Vec<u8>)> =
        headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let response = OutgoingResponse::new(Fields::from_list(&fields).expect("valid headers"));
    let _ = response.set_status_code(status);
    let body = response.body().expect("the body is asked for once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream is asked for once");
    // A client that has gone away is no error of the app's.
    let _ = write(&stream);
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn say(out: ResponseOutparam, status: u16, headers: &[(&str, &str)], text: &str) {
    answer(out, status, headers, |stream| stream.blocking_write_and_flush(text.as_bytes()));
}

fn count(request: &IncomingRequest) -> u64 {
    let body = request.consume().expect("the body is asked for once");
    let stream = body.stream().expect("the stream is asked for once");
    let mut bytes = 0;
    while let Ok(piece) = stream.blocking_read(1 << 16) {
        bytes += piece.len() as u64;
    }
    bytes
}

fn stream(stream: &OutputStream) -> Result<(), StreamError> {
    let piece: Vec<u8> = (0..PIECE).map(|at| at as u8).collect();
    for _ in 0..STREAMED / PIECE {
        stream.blocking_write_and_flush(&piece)?;
    }
    Ok(())
}

struct Demanding;

impl Guest for Demanding {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let asked = request.path_with_query().unwrap_or_default();
        match asked.split('?').next().unwrap_or("") {
            "/" => say(out, 401, &[("www-authenticate", "Basic realm=\"apps\"")], "log in first"),
            "/cookies" => {
                let cookies = [("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2; Path=/")];
                say(out, 200, &cookies, "two cookies");
            }
            "/stream" => answer(out, 200, &[("content-type", "application/octet-stream")], stream),
            "/upload" => {
                let bytes = count(&request);
                say(out, 200, &[], &bytes.to_string());
            }
            _ => say(out, 404, &[], "not found"),
        }
    }
}

wasi::http::proxy::export!(Demanding);
