//! Groups: created, deleted, described.

use crate::script::check;

#[test]
fn a_group_is_there_from_its_creation_to_its_deletion() {
    check(
        "delete-group a -> The specified log group does not exist.
        create-group a -> ok
        create-group a -> The specified log group already exists
        group a -> created 0 bytes 0
        groups -> a
        delete-group a -> ok
        delete-group a -> The specified log group does not exist.
        group a -> The specified log group does not exist.
        groups ->
        tick 5
        create-group a -> ok
        group a -> created 5 bytes 0",
    );
}

#[test]
fn groups_are_listed_in_pages_by_name() {
    check(
        "create-group /aws/lambda/b -> ok
        create-group /aws/lambda/a -> ok
        create-group /other -> ok
        create-group /aws/lambda/a/b -> ok
        groups -> /aws/lambda/a /aws/lambda/a/b /aws/lambda/b /other
        groups limit=4 -> /aws/lambda/a /aws/lambda/a/b /aws/lambda/b /other
        groups limit=2 -> /aws/lambda/a /aws/lambda/a/b ...
        groups limit=2 next -> /aws/lambda/b /other
        groups limit=2 -> /aws/lambda/a /aws/lambda/a/b ...
        delete-group /aws/lambda/a/b -> ok
        create-group /aws/lambda/ab -> ok
        groups limit=2 next -> /aws/lambda/ab /aws/lambda/b ...
        groups prefix=/aws/lambda/a -> /aws/lambda/a /aws/lambda/ab
        groups prefix=/aws limit=1 -> /aws/lambda/a ...
        groups prefix=/aws limit=1 next -> /aws/lambda/ab ...
        groups prefix=/aws limit=1 next -> /aws/lambda/b
        groups holds=other -> /other
        groups holds=b limit=1 -> /aws/lambda/a ...
        groups class=STANDARD holds=the -> /other
        groups class=DELIVERY ->
        groups prefix=/nothing ->",
    );
}

#[test]
fn a_list_that_asks_for_too_much_or_goes_on_elsewhere_is_refused() {
    check(
        "create-group a -> ok
        create-group b -> ok
        groups limit=0 -> limit 0 is not between 1 and 50
        groups limit=51 -> limit 51 is not between 1 and 50
        groups prefix=a holds=a -> LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.
        groups limit=1 -> a ...
        groups prefix=a next -> The specified nextToken is invalid.
        groups next -> b",
    );
}

#[test]
fn what_a_deleted_group_held_is_not_found_in_its_successor() {
    check(
        "create-group a -> ok
        create-stream a s -> ok
        put a s 0:old -> ok
        group a -> created 0 bytes 29
        delete-group a -> ok
        get a s -> The specified log group does not exist.
        find a -> The specified log group does not exist.
        put a s 0:old -> The specified log group does not exist.
        create-group a -> ok
        streams a ->
        find a ->
        get a s -> The specified log stream does not exist.
        group a -> created 0 bytes 0
        create-stream a s -> ok
        put a s 0:new -> ok
        get a s -> new
        find a -> s:new
        restart
        find a -> s:new",
    );
}
