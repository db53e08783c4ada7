//! Guests that break the rules harm only themselves.

use std::time::{Duration, Instant};

use crate::support::{function, shown};

/// Writes a frame to the channel behind the language pack's back.
const FRAMES: &str = r#"
import os, sys, threading, time
def frame(kind, body):
    return (len(body) + 1).to_bytes(4, "little") + bytes([kind]) + body
OTHER = b"99999999-9999-4999-8999-999999999999"
def handler(event, context):
    mine = context.aws_request_id.encode()
    if event == "another":
        os.write(3, frame(4, OTHER + b'"mine"'))
        time.sleep(60)
    if event == "twice":
        os.write(3, frame(4, mine + b'"first"'))
        return "second"
    if event == "garbage":
        os.write(3, b"\x05\0\0\0GET /")
        time.sleep(60)
    if event == "close":
        os.close(3)
        time.sleep(60)
    if event == "endless":
        os.write(3, (100_000_000).to_bytes(4, "little") + bytes([4]) + mine)
        time.sleep(60)
    if event == "ready":
        os.write(3, frame(2, b""))
        time.sleep(60)
    return "fine"
"#;

#[tokio::test]
async fn a_guest_that_breaks_the_protocol_is_ended() {
    let exit = "Exited: {\n  \"errorType\": \"Runtime.ExitError\",\n  \"errorMessage\": \"RequestId: 07070707-0707-4707-\
        8707-070707070707 Error: Runtime was ended because it broke its protocol: ";
    for (event, expected) in [
        ("another", format!("{exit}it answered for another request\"\n}}")),
        ("garbage", format!("{exit}the guest sent a frame that means nothing: of an unknown kind\"\n}}")),
        ("close", format!("{exit}it closed its channel\"\n}}")),
        ("ready", format!("{exit}it spoke of its init during an invocation\"\n}}")),
    ] {
        let function = function("python3.13", "app.handler", &[("app.py", FRAMES)]);
        let mut instance = function.ready().await;
        let ran = instance.run(function.work(&format!("{event:?}"))).await;
        assert_eq!(shown(&ran), expected, "{event}");
        assert!(!ran.reusable, "{event}");
        assert!(ran.measured.duration < Duration::from_secs(20), "{event}: {:?}", ran.measured);
    }
}

#[tokio::test]
async fn an_announced_answer_over_the_limit_is_never_read() {
    let function = function("python3.13", "app.handler", &[("app.py", FRAMES)]);
    let mut instance = function.ready().await;
    let ran = instance.run(function.work("\"endless\"")).await;
    assert!(shown(&ran).starts_with("AnswerTooLarge"), "{}", shown(&ran));
    assert!(!ran.reusable);
}

#[tokio::test]
async fn a_second_answer_never_reaches_the_next_caller() {
    let function = function("python3.13", "app.handler", &[("app.py", FRAMES)]);
    let mut instance = function.ready().await;
    let ran = instance.run(function.work("\"twice\"")).await;
    assert_eq!(shown(&ran), "answer: \"first\"");
    // Its second answer is there by now or comes soon: the instance is lost.
    tokio::time::timeout(Duration::from_secs(10), instance.lost()).await.expect("the second answer is noticed");
    let ran = instance.run(function.work("\"fine\"")).await;
    assert_eq!(shown(&ran), "platform failure: the instance ended while it was idle, delivered false");
    assert!(!ran.reusable);
}

#[tokio::test]
async fn an_idle_instance_that_ends_is_noticed() {
    let source =
        "import os, threading\ndef handler(event, context):\n    threading.Timer(0.05, os._exit, [1]).start()\n";
    let function = function("python3.13", "app.handler", &[("app.py", source)]);
    let mut instance = function.ready().await;
    assert!(instance.run(function.work("1")).await.reusable);
    tokio::time::timeout(Duration::from_secs(10), instance.lost()).await.expect("the end is noticed");
}

#[tokio::test]
async fn a_flood_of_output_is_dropped_and_said() {
    let source = "import os\nblock = b'x' * 1023 + b'\\n'\nblock *= 1024\ndef handler(event, context):\n    \
        for _ in range(event):\n        os.write(1, block)\n    return 'done'\n";
    let function = function("python3.13", "app.handler", &[("app.py", source)]);
    let mut instance = function.ready().await;
    let began = Instant::now();
    let ran = instance.run(function.work("1024")).await;
    assert_eq!(shown(&ran), "answer: \"done\"");
    assert!(began.elapsed() < Duration::from_secs(60), "1 GiB took {:?}", began.elapsed());
    let lines = function.lines.take();
    let dropped = ran.measured.log_bytes_dropped;
    assert_eq!(lines.last(), Some(&format!("[pinfold] output limit reached: {dropped} bytes dropped")));
    // Newlines between the lines that were kept are not counted as kept.
    assert!(dropped > (1 << 30) - (9 << 20) && dropped < 1 << 30, "{dropped}");
    assert!(lines.len() < 9000, "{}", lines.len());

    let ran = instance.run(function.work("0")).await;
    assert_eq!((ran.measured.log_bytes_dropped, function.lines.take().len()), (0, 0));
}

#[tokio::test]
async fn late_output_belongs_to_the_next_invocation() {
    let source = "import sys, threading, time\nrelease = threading.Event()\ndef late():\n    release.wait()\n    \
        time.sleep(0.05)\n    print('late', flush=True)\n    done.set()\ndone = threading.Event()\ndef handler(event, context):\n    \
        if event == 'start':\n        threading.Thread(target=late, daemon=True).start()\n        release.set()\n    \
        else:\n        done.wait()\n        print('second')\n";
    let function = function("python3.13", "app.handler", &[("app.py", source)]);
    let mut instance = function.ready().await;
    instance.run(function.work("\"start\"")).await;
    assert_eq!(function.lines.take(), Vec::<String>::new());
    instance.run(function.work("\"second\"")).await;
    assert_eq!(function.lines.take(), ["late", "second"]);
}

#[tokio::test]
async fn an_orphan_that_holds_the_pipes_does_not_hold_up_the_answer() {
    let source = "import subprocess\ndef handler(event, context):\n    \
        subprocess.Popen(['sleep', '60'], close_fds=False, start_new_session=False)\n    return 'answered'\n";
    let function = function("python3.13", "app.handler", &[("app.py", source)]);
    let mut instance = function.ready().await;
    for _ in 0..2 {
        let ran = instance.run(function.work("1")).await;
        assert_eq!((shown(&ran).as_str(), ran.reusable), ("answer: \"answered\"", true));
    }
    tokio::time::timeout(Duration::from_secs(20), instance.stop()).await.expect("stop does not wait for the orphan");
}
