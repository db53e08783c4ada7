//! Failures that the platform sees: no interpreter, an init that takes too long, an init that ends.

use std::time::{Duration, Instant};

use model::runtime::Language;
use sandbox::{LaunchError, Packs};

use crate::support::{function, shown, work};

#[tokio::test]
async fn an_init_that_takes_too_long_runs_again_within_the_invocation() {
    // The first attempt leaves a mark and hangs; the second finds it.
    let source = "import os, time\nmark = os.path.join(os.path.dirname(__file__), 'mark')\n\
        if not os.path.exists(mark):\n    open(mark, 'w').close()\n    print('slow', flush=True)\n    time.sleep(60)\n\
        print('quick')\ndef handler(event, context):\n    return 'second init'\n";
    let function = function("python3.13", "app.handler", &[("app.py", source)]);
    let began = Instant::now();
    let mut instance = function.ready().await;
    assert!((10..60).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let lines = function.lines.take();
    assert_eq!(lines[0], "slow");
    assert!(lines[1].starts_with("INIT_REPORT Init Duration: 1"), "{lines:?}");
    assert!(lines[1].ends_with("ms\tPhase: init\tStatus: timeout"), "{lines:?}");
    let ran = instance.run(function.work("1")).await;
    assert_eq!((shown(&ran).as_str(), ran.reusable), ("answer: \"second init\"", true));
    assert_eq!(function.lines.take(), ["quick"]);
}

#[tokio::test]
async fn a_second_init_that_takes_too_long_is_a_time_out() {
    let source = "import time\ntime.sleep(60)\n";
    let function = function("python3.13", "app.handler", &[("app.py", source)]);
    let mut instance = function.ready().await;
    let ran = instance.run(work("1", Duration::from_millis(300))).await;
    assert!(shown(&ran).starts_with("TimedOut"), "{}", shown(&ran));
    assert!(!ran.reusable);
}

#[tokio::test]
async fn a_bootstrap_that_is_missing_is_an_error_of_the_start() {
    let function = function("provided.al2023", "x", &[]);
    let Err(LaunchError::Init(failure)) = function.launch().await else { panic!("there is nothing to start") };
    let document = String::from_utf8_lossy(&failure.error.payload).into_owned();
    assert!(document.contains("Runtime.InvalidEntrypoint") && document.contains("/var/task/bootstrap"), "{document}");
}

#[test]
fn a_provided_runtime_needs_no_interpreter() {
    assert!(Packs::new().serve(Language::Provided).expect("nothing is needed").interpreter.is_none());
}
