//! Fails in the way that stands in MARKER, which tests/apps/build.py replaces in the compiled file.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasi::exports::http::incoming_handler::Guest;
use wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

/// What goes wrong, and from or until when, in seconds of the epoch.
#[used]
static MARKER: [u8; 40] = *b"<broken:ok                 :0000000000;>";

thread_local! {
    static ANSWERED: Cell<u32> = const { Cell::new(0) };
}

/// Read as it is when it runs, and not as it was when it was compiled.
fn marker() -> (String, u64) {
    let bytes = unsafe { std::ptr::read_volatile(&raw const MARKER) };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut parts = text[1..].split(':').skip(1);
    let behaviour = parts.next().unwrap_or("").trim().to_string();
    let time = parts.next().and_then(|rest| rest[..10].parse().ok());
    (behaviour, time.unwrap_or(0))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn one_in_ten() -> bool {
    wasi::random::random::get_random_u64() % 10 == 0
}

/// Without any CPU.
fn wait(seconds: u64) {
    let nanoseconds = u64::try_from(Duration::from_secs(seconds).as_nanos()).unwrap_or(u64::MAX);
    wasi::clocks::monotonic_clock::subscribe_duration(nanoseconds).block();
}

/// All that an instance may have, and each page of it written to.
fn eat() {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    for _ in 0..60 {
        let mut piece = vec![0_u8; 64 << 20];
        for at in (0..piece.len()).step_by(4096) {
            piece[at] = 1;
        }
        eaten.push(piece);
    }
    std::hint::black_box(&eaten);
}

fn flood() {
    let line = format!("{}\n", "flood ".repeat(21).trim_end());
    let piece = line.repeat(256);
    for _ in 0..(1 << 19) / piece.len() {
        let _ = std::io::stderr().write_all(piece.as_bytes());
    }
}

fn status(path: &str) -> u16 {
    let (behaviour, time) = marker();
    let health = path == "/health";
    if behaviour == "slow-start" && now() < time {
        wait(time - now());
    }
    if !health {
        match behaviour.as_str() {
            "always-500" => return 500,
            "tenth-500" if one_in_ten() => return 500,
            "tenth-hangs" if one_in_ten() => wait(3600),
            "slow-3s" => wait(3),
            "crash-after-20" => {
                let answered = ANSWERED.get() + 1;
                ANSWERED.set(answered);
                assert!(answered <= 20, "broken: request {answered} of this instance");
            }
            "bad-later" if now() >= time => return 500,
            "eats-memory" => eat(),
            "floods-log" => flood(),
            _ => {}
        }
    }
    match path {
        "/health" if behaviour == "health-404" => 404,
        "/" | "/health" => 200,
        _ => 404,
    }
}

struct Broken;

impl Guest for Broken {
    fn handle(request: IncomingRequest, answer: ResponseOutparam) {
        let asked = request.path_with_query().unwrap_or_default();
        let status = status(asked.split('?').next().unwrap_or(""));
        let response = OutgoingResponse::new(Fields::new());
        let _ = response.set_status_code(status);
        let body = response.body().expect("the body is asked for once");
        ResponseOutparam::set(answer, Ok(response));

        let stream = body.write().expect("the stream is asked for once");
        let _ = stream.blocking_write_and_flush(format!("broken {status}\n").as_bytes());
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

wasi::http::proxy::export!(Broken);
