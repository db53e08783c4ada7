//! Streams: created, deleted, described.

use crate::script::check;

#[test]
fn a_stream_is_there_from_its_creation_to_its_deletion() {
    check(
        "create-stream a s -> The specified log group does not exist.
        streams a -> The specified log group does not exist.
        create-group a -> ok
        create-stream a s -> ok
        create-stream a s -> The specified log stream already exists
        stream a s -> first - last - ingested -
        put a s 0:one -> ok
        tick 7
        put a s -5:two 3:three -> ok
        stream a s -> first -5 last 3 ingested 7
        group a -> created 0 bytes 89
        delete-stream a s -> ok
        delete-stream a s -> The specified log stream does not exist.
        streams a ->
        group a -> created 0 bytes 0
        get a s -> The specified log stream does not exist.
        find a ->
        create-stream a s -> ok
        get a s ->
        find a ->
        stream a s -> first - last - ingested -",
    );
}

#[test]
fn streams_are_listed_by_name_or_by_their_latest_events() {
    check(
        "create-group a -> ok
        create-stream a x -> ok
        create-stream a y1 -> ok
        create-stream a y2 -> ok
        create-stream a z -> ok
        put a x 30:m -> ok
        put a y1 10:m -> ok
        put a y2 20:m -> ok
        streams a -> x y1 y2 z
        streams a descending -> z y2 y1 x
        streams a prefix=y -> y1 y2
        streams a prefix=y descending limit=1 -> y2 ...
        streams a prefix=y descending limit=1 next -> y1
        streams a limit=3 -> x y1 y2 ...
        streams a limit=3 next -> z
        streams a by-time -> z y1 y2 x
        streams a by-time descending -> x y2 y1 z
        streams a by-time descending limit=1 -> x ...
        streams a by-time descending limit=1 next -> y2 ...
        streams a by-time descending limit=2 next -> y1 z
        put a y1 40:m -> ok
        streams a by-time descending limit=1 -> y1 ...
        put a y1 1:m -> ok
        streams a by-time descending limit=2 -> y1 x ...
        delete-stream a x -> ok
        streams a by-time -> z y2 y1",
    );
}

#[test]
fn a_list_of_streams_that_cannot_be_is_refused() {
    check(
        "create-group a -> ok
        create-stream a s -> ok
        create-stream a t -> ok
        streams a by-time prefix=s -> Cannot order by LastEventTime with a logStreamNamePrefix.
        streams a limit=51 -> limit 51 is not between 1 and 50
        streams a limit=1 -> s ...
        streams a limit=1 descending next -> The specified nextToken is invalid.",
    );
}

#[test]
fn what_is_known_of_streams_survives_a_restart_and_a_crash() {
    check(
        "create-group a -> ok
        create-stream a s -> ok
        put a s 1:one 2:two -> ok
        restart
        stream a s -> first 1 last 2 ingested 0
        group a -> created 0 bytes 58
        put a s 3:three -> ok
        crash
        stream a s -> first 1 last 3 ingested 0
        group a -> created 0 bytes 89
        streams a by-time -> s
        get a s -> one two three
        crash
        stream a s -> first 1 last 3 ingested 0
        group a -> created 0 bytes 89",
    );
}
