//! Events: put, read from a stream, searched in a group.

use crate::script::check;

#[test]
fn a_stream_is_read_in_either_direction() {
    check(
        "create-group a -> ok
        create-stream a s -> ok
        put a s 1:a 2:b 3:c 4:d 5:e -> ok
        get a s -> a b c d e
        get a s limit=2 -> d e
        get a s limit=2 b -> b c
        get a s limit=2 b -> a
        get a s limit=2 b -> stays
        get a s limit=2 f -> a b
        get a s limit=2 f -> c d
        get a s limit=2 f -> e
        get a s limit=2 f -> stays
        get a s limit=2 f -> stays
        put a s 6:f -> ok
        get a s limit=2 f -> f
        get a s head limit=3 -> a b c
        get a s b -> stays
        get a s head -> a b c d e f",
    );
}

#[test]
fn an_empty_stream_has_tokens_that_find_what_comes_later() {
    check(
        "create-group a -> ok
        create-stream a s -> ok
        get a s ->
        get a s f -> stays
        put a s 1:a -> ok
        get a s f -> a
        get a s b -> stays",
    );
}

#[test]
fn times_bound_what_is_read() {
    check(
        "create-group a -> ok
        create-stream a s -> ok
        put a s 1:a 2:b 3:c 4:d -> ok
        get a s from=2 -> b c d
        get a s to=3 -> a b
        get a s from=2 to=4 -> b c
        get a s from=2 to=2 ->
        get a s from=3 head limit=1 -> c
        find a from=2 -> s:b s:c s:d
        find a to=3 -> s:a s:b s:c
        find a from=2 to=2 -> s:b
        find a from=5 ->",
    );
}

#[test]
fn events_are_in_the_order_of_their_times_however_they_came() {
    check(
        "create-group a -> ok
        create-stream a s -> ok
        create-stream a t -> ok
        put a s 30:c -> ok
        put a t 20:b 40:d -> ok
        put a s 10:a 30:cc -> ok
        put a t -86400000:early -> ok
        get a s head -> a c cc
        find a -> t:early s:a t:b s:c s:cc t:d
        find a limit=2 -> t:early s:a ...
        find a limit=2 next -> t:b s:c ...
        find a limit=2 next -> s:cc t:d",
    );
}

#[test]
fn a_search_takes_streams_by_name_or_prefix_and_messages_by_pattern() {
    check(
        "create-group a -> ok
        create-stream a web/1 -> ok
        create-stream a web/2 -> ok
        create-stream a db/1 -> ok
        put a web/1 1:GET 4:ERROR_one -> ok
        put a web/2 2:GET -> ok
        put a db/1 3:ERROR_two -> ok
        find a prefix=web -> web/1:GET web/2:GET web/1:ERROR_one
        find a streams=web/2 -> web/2:GET
        find a streams=web/2,db/1 -> web/2:GET db/1:ERROR_two
        find a pattern=ERROR -> db/1:ERROR_two web/1:ERROR_one
        find a pattern=-ERROR -> web/1:GET web/2:GET
        find a prefix=web pattern=?one ?two -> web/1:ERROR_one
        find a limit=1 pattern=ERROR -> db/1:ERROR_two ...
        find a limit=1 next pattern=ERROR -> web/1:ERROR_one
        find a limit=1 pattern=ERROR -> db/1:ERROR_two ...
        find a limit=1 next pattern=GET -> The specified nextToken is invalid.
        find a streams=web/2,nobody -> The specified log stream does not exist.
        find a limit=10001 -> limit 10001 is not between 1 and 10000
        find a pattern=a:b -> Invalid character(s) in term ':'
        delete-stream a web/1 -> ok
        find a -> web/2:GET db/1:ERROR_two",
    );
}

#[test]
fn a_token_is_good_for_its_stream_only() {
    check(
        "create-group a -> ok
        create-stream a s -> ok
        create-stream a t -> ok
        put a s 1:a -> ok
        get a s -> a
        get a t f -> The specified nextToken is invalid.
        get a s token=not-existing-token -> The specified nextToken is invalid.
        get a s limit=0 -> limit 0 is not between 1 and 10000
        get a nobody -> The specified log stream does not exist.",
    );
}

#[test]
fn events_out_of_their_time_are_left_out_of_a_put() {
    check(
        "create-group a -> ok
        create-stream a s -> ok
        put a s -1209600001:old -1209600000:a -> too-old-to 1
        put a s 0:b 7200000:c 7200001:new -> too-new-from 2
        get a s -> a b c
        put a s 2:b 1:a -> Log events in a single PutLogEvents request must be in chronological order.
        put a nobody 0:m -> The specified log stream does not exist.
        get a s -> a b c",
    );
}
