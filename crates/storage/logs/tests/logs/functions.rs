//! Functions' lines: they make their own group and stream, and never wait.

use std::sync::Arc;

use base::time::Timestamp;
use bytes::Bytes;
use logs::{GetEvents, limits};
use model::names::{LogGroupName, LogStreamName};

use crate::script::{World, check, home};

#[test]
fn the_first_line_makes_group_and_stream() {
    check(
        "write /aws/lambda/f s 1:START 2:hello 3:END
        get /aws/lambda/f s -> START hello END
        write /aws/lambda/f s 4:START
        get /aws/lambda/f s -> START hello END START
        groups -> /aws/lambda/f
        stream /aws/lambda/f s -> first 1 last 4 ingested 4
        group /aws/lambda/f -> created 0 bytes 122
        create-group /aws/lambda/f -> The specified log group already exists",
    );
}

#[test]
fn lines_go_into_a_group_that_is_there() {
    check(
        "create-group g -> ok
        create-stream g s -> ok
        put g s 0:put -> ok
        write g s 1:line
        put g s 2:put-again -> ok
        write g t 3:other
        find g -> s:put s:line s:put-again t:other",
    );
}

#[test]
fn lines_after_a_deletion_make_group_and_stream_again() {
    check(
        "write g s 1:one
        find g -> s:one
        delete-group g -> ok
        groups ->
        write g s 2:two
        find g -> s:two
        delete-stream g s -> ok
        streams g ->
        write g s 3:three
        find g -> s:three
        stream g s -> first 3 last 3 ingested 3
        group g -> created 0 bytes 31",
    );
}

#[test]
fn lines_keep_their_order_when_the_clock_steps_back_a_little() {
    check(
        "write g s 10:a 9:b 5:c 11:d
        get g s -> a b c d
        write g t 5000:late 10:early
        get g t -> early late",
    );
}

#[test]
fn lines_of_instances_that_ended_are_counted_too() {
    check(
        "write g s 1:one
        release g s
        stream g s -> first 1 last 1 ingested 1
        write g s 2:two
        get g s -> one two
        release g s
        crash
        get g s -> one two
        stream g s -> first 1 last 2 ingested 2
        group g -> created 0 bytes 58",
    );
}

#[test]
fn what_does_not_fit_while_the_stream_is_made_is_counted_and_stated() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World::open(folder.path(), true).await;
        let (group, stream) = (LogGroupName::parse("g").unwrap(), LogStreamName::parse("s").unwrap());
        let handle = world.logs.stream(home().account, &home().region, &group, &stream);
        // Nothing is opened before this task lets the keeper run.
        let line = Bytes::from(vec![b'x'; 1000]);
        let fit = limits::WAITING_BYTES_PER_STREAM_MAX / (line.len() + limits::EVENT_OVERHEAD_BYTES);
        for n in 0..fit + 10 {
            handle.line(Timestamp::from_millis(1_700_000_000_000 + n as u64), line.clone());
        }
        assert_eq!(world.metrics.log_bytes_dropped.get(), 10_000);
        let ask = GetEvents { limit: Some(2), ..GetEvents::default() };
        let found = world.logs.get_events(&home(), &group, &stream, &ask).await.expect("the stream");
        let last = String::from_utf8(found.events[1].message.to_vec()).expect("text");
        let stated = "[pinfold] 10 lines (10000 bytes) are missing here";
        assert!(last.starts_with(stated), "{last}");
        assert_eq!(found.events[0].message, line);
        world.logs.close().await;
    });
}

#[test]
fn lines_of_many_instances_keep_their_order() {
    const INSTANCES: usize = 40;
    const LINES: usize = 200;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World::open(folder.path(), true).await;
        let group = LogGroupName::parse("g").unwrap();
        let name = |n: usize| LogStreamName::parse(&format!("s{n}")).unwrap();
        let mut writers = Vec::new();
        for n in 0..INSTANCES {
            let (logs, group, stream) = (Arc::clone(&world.logs), group.clone(), name(n));
            writers.push(tokio::spawn(async move {
                let handle = logs.stream(home().account, &home().region, &group, &stream);
                for line in 0..LINES {
                    let at = Timestamp::from_millis(1_700_000_000_000);
                    handle.lines(&[(at, Bytes::from(line.to_string())), (at, Bytes::from_static(b"+"))]);
                    tokio::task::yield_now().await;
                }
            }));
        }
        for writer in writers {
            writer.await.expect("a writer");
        }
        let expected: Vec<String> = (0..LINES).flat_map(|line| [line.to_string(), "+".to_owned()]).collect();
        for n in 0..INSTANCES {
            let found =
                world.logs.get_events(&home(), &group, &name(n), &GetEvents::default()).await.expect("a stream");
            let found: Vec<String> =
                found.events.iter().map(|event| String::from_utf8(event.message.to_vec()).expect("text")).collect();
            assert_eq!(found, expected, "stream {n}");
        }
        world.logs.close().await;
    });
}
