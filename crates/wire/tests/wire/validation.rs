//! Constraints of the models, and what is said when they are broken.

use serde_json::json;

use crate::sample::Sample;

const ROLE: &str = "arn:aws:iam::000000000000:role/any";

/// What is said about a request; "read" if nothing.
#[track_caller]
fn check(sample: Sample, expected: &str) {
    let found = sample.decode().map_or_else(|error| error.to_string(), |_| "read".to_owned());
    assert_eq!(found, expected);
}

/// A CreateFunction that is right but for `member`.
fn create(member: &str, value: serde_json::Value) -> Sample {
    let mut body = json!({"FunctionName": "hello", "Role": ROLE, "Runtime": "python3.13", "Handler": "a.b", "Code": {"ZipFile": "UEs="}});
    body[member] = value;
    Sample::new("POST", "/2015-03-31/functions").scope("lambda").body(body.to_string())
}

fn lambda(method: &str, uri: &str) -> Sample {
    Sample::new(method, uri).scope("lambda")
}

#[test]
fn lambda_strings_are_checked() {
    check(create("FunctionName", json!("hello")), "read");
    check(
        create("FunctionName", json!("no spaces")),
        "ValidationException: 1 validation error detected: Value 'no spaces' at 'functionName' failed to satisfy constraint: Member must \
         satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?\
         (\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?",
    );
    check(
        create("Handler", json!("x".repeat(129))),
        &format!(
            "ValidationException: 1 validation error detected: Value '{}' at 'handler' failed to satisfy constraint: Member must have \
             length less than or equal to 128",
            "x".repeat(129)
        ),
    );
    check(create("Description", json!("ü".repeat(256))), "read");
    check(create("KMSKeyArn", json!("")), "read");
    check(
        create("KMSKeyArn", json!("x")),
        "ValidationException: 1 validation error detected: Value 'x' at 'kMSKeyArn' failed to satisfy constraint: Member must satisfy \
         regular expression pattern: (arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()",
    );
    check(
        create("Code", json!({"S3Bucket": "my-bucket.", "S3Key": "k"})),
        "ValidationException: 1 validation error detected: Value 'my-bucket.' at 'code.s3Bucket' failed to satisfy constraint: Member \
         must satisfy regular expression pattern: [0-9A-Za-z\\.\\-_]*(?<!\\.)",
    );
}

#[test]
fn lambda_numbers_are_checked() {
    for (member, value, shown, bound) in [
        ("Timeout", json!(901), "Value '901' at 'timeout'", 900),
        ("MemorySize", json!(10_241), "Value '10241' at 'memorySize'", 10_240),
        ("EphemeralStorage", json!({"Size": 10_241}), "Value '10241' at 'ephemeralStorage.size'", 10_240),
    ] {
        let constraint = format!("failed to satisfy constraint: Member must have value less than or equal to {bound}");
        let expected = format!("ValidationException: 1 validation error detected: {shown} {constraint}");
        check(create(member, value.clone()), &expected);
        let body = json!({ member: value }).to_string();
        check(lambda("PUT", "/2015-03-31/functions/f/configuration").body(body), &expected);
    }
    check(create("Timeout", json!(900)), "read");
    check(
        create("Timeout", json!(0)),
        "ValidationException: 1 validation error detected: Value '0' at 'timeout' failed to satisfy constraint: Member must have value \
         greater than or equal to 1",
    );
    check(
        create("EphemeralStorage", json!({"Size": 511})),
        "ValidationException: 1 validation error detected: Value '511' at 'ephemeralStorage.size' failed to satisfy constraint: Member \
         must have value greater than or equal to 512",
    );
    check(
        lambda("GET", "/2015-03-31/functions?MaxItems=10001"),
        "ValidationException: 1 validation error detected: Value '10001' at 'maxItems' failed to satisfy constraint: Member must have \
         value less than or equal to 10000",
    );
}

#[test]
fn lambda_enumerations_lists_and_maps_are_checked() {
    check(create("Runtime", json!("python99")), "read");
    check(
        create("PackageType", json!("Tar")),
        "ValidationException: 1 validation error detected: Value 'Tar' at 'packageType' failed to satisfy constraint: Member must satisfy \
         enum value set: [Zip, Image]",
    );
    check(
        create("Architectures", json!(["arm64", "riscv"])),
        "ValidationException: 2 validation errors detected: Value '[arm64, riscv]' at 'architectures' failed to satisfy constraint: \
         Member must have length less than or equal to 1; Value '[arm64, riscv]' at 'architectures' failed to satisfy constraint: Member \
         must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64]]",
    );
    check(
        create("VpcConfig", json!({"SubnetIds": ["subnet-1", "net-2"]})),
        "ValidationException: 1 validation error detected: Value '[subnet-1, net-2]' at 'vpcConfig.subnetIds' failed to satisfy \
         constraint: Member must satisfy constraint: [Member must have length less than or equal to 1024, Member must satisfy regular \
         expression pattern: subnet-[0-9a-z]*]",
    );
    check(
        create("FileSystemConfigs", json!([{"Arn": "x"}])),
        "ValidationException: 2 validation errors detected: Value 'x' at 'fileSystemConfigs.1.member.arn' failed to satisfy constraint: \
         Member must satisfy regular expression pattern: arn:aws[a-zA-Z-]*:elasticfilesystem:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?\
         -[a-z]+-\\d{1}:\\d{12}:access-point/fsap-[a-f0-9]{17}$|^arn:aws[-a-z]*:s3files:[0-9a-z-:]+:file-system/fs-[0-9a-f]{17,40}\
         /access-point/fsap-[0-9a-f]{17,40}; Value null at 'fileSystemConfigs.1.member.localMountPath' failed to satisfy constraint: \
         Member must not be null",
    );
    check(
        create("Tags", json!({"a!": "b"})),
        "ValidationException: 1 validation error detected: Value '{a!=b}' at 'tags' failed to satisfy constraint: Map keys must satisfy \
         constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1, Member must \
         satisfy regular expression pattern: ([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)]",
    );
}

#[test]
fn an_empty_list_is_shown_as_one() {
    check(
        Sample::logs("PutLogEvents", r#"{"logGroupName": "g", "logStreamName": "s", "logEvents": []}"#),
        "InvalidParameterException: 1 validation error detected: Value '[]' at 'logEvents' failed to satisfy constraint: Member must have \
         length greater than or equal to 1",
    );
}

#[test]
fn a_constraint_outside_the_model_is_said_in_the_same_sentence() {
    let error = wire::Error::constraint(wire::Service::Lambda, "x", "FunctionName", "Member must be shorter");
    assert_eq!(
        error.to_string(),
        "ValidationException: 1 validation error detected: Value 'x' at 'functionName' failed to satisfy constraint: Member must be shorter"
    );
}

#[test]
fn secrets_stay_out_of_messages() {
    check(
        create("Environment", json!({"Variables": {"1SECRET": "hunter2"}})),
        "ValidationException: 1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must \
         satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]",
    );
}

#[test]
fn what_is_missing_is_named() {
    check(
        create("Role", json!(null)),
        "ValidationException: 1 validation error detected: Value null at 'role' failed to satisfy constraint: Member must not be null",
    );
    check(
        lambda("POST", "/2015-03-31/functions").body("{}"),
        "ValidationException: 3 validation errors detected: Value null at 'code' failed to satisfy constraint: Member must not be null; \
         Value null at 'functionName' failed to satisfy constraint: Member must not be null; Value null at 'role' failed to satisfy \
         constraint: Member must not be null",
    );
}

#[test]
fn headers_labels_and_parameters_are_checked_too() {
    let invoke = |name: &str| lambda("POST", &format!("/2015-03-31/functions/{name}/invocations"));
    check(invoke("arn%3Aaws%3Alambda%3Aeu-central-1%3A000000000000%3Afunction%3Ahello%3A%24LATEST"), "read");
    check(
        invoke("hello").header("x-amz-invocation-type", "Sometimes"),
        "ValidationException: 1 validation error detected: Value 'Sometimes' at 'invocationType' failed to satisfy constraint: Member must \
         satisfy enum value set: [Event, RequestResponse, DryRun]",
    );
    check(
        invoke("a%2Fb").header("x-amz-log-type", "Head"),
        "ValidationException: 2 validation errors detected: Value 'a/b' at 'functionName' failed to satisfy constraint: Member must \
         satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?\
         (\\d{12}:)?(function:)?([a-zA-Z0-9-_\\.]+)(:(\\$LATEST(\\.PUBLISHED)?|[a-zA-Z0-9-_]+))?; Value 'Head' at 'logType' failed to \
         satisfy constraint: Member must satisfy enum value set: [None, Tail]",
    );
    check(
        lambda("GET", "/2015-03-31/functions/hello?Qualifier="),
        "ValidationException: 2 validation errors detected: Value '' at 'qualifier' failed to satisfy constraint: Member must have length \
         greater than or equal to 1; Value '' at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression \
         pattern: \\$(LATEST(\\.PUBLISHED)?)|[a-zA-Z0-9-_$]+",
    );
}

#[test]
fn logs_say_invalid_parameter() {
    check(Sample::logs("CreateLogGroup", r#"{"logGroupName": "/aws/lambda/hello"}"#), "read");
    check(
        Sample::logs("CreateLogGroup", r#"{"logGroupName": ""}"#),
        "InvalidParameterException: 2 validation errors detected: Value '' at 'logGroupName' failed to satisfy constraint: Member must have \
         length greater than or equal to 1; Value '' at 'logGroupName' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: [\\.\\-_/#A-Za-z0-9]+",
    );
    check(
        Sample::logs(
            "PutLogEvents",
            r#"{"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": -1, "message": ""}]}"#,
        ),
        "InvalidParameterException: 2 validation errors detected: Value '' at 'logEvents.1.member.message' failed to satisfy constraint: \
         Member must have length greater than or equal to 1; Value '-1' at 'logEvents.1.member.timestamp' failed to satisfy constraint: \
         Member must have value greater than or equal to 0",
    );
    check(
        Sample::logs("PutLogEvents", r#"{"logGroupName": "g", "logStreamName": "s", "logEvents": [null]}"#),
        "InvalidParameterException: 1 validation error detected: Value null at 'logEvents.1.member' failed to satisfy constraint: Member \
         must not be null",
    );
}

#[test]
fn wrong_types_are_serialization_errors() {
    check(create("Timeout", json!("3")), "SerializationException: STRING_VALUE cannot be converted to Integer");
    check(create("Timeout", json!(3.5)), "SerializationException: DECIMAL_VALUE cannot be converted to Integer");
    check(
        create("Timeout", json!(5_000_000_000_u64)),
        "SerializationException: NUMBER_VALUE cannot be converted to Integer",
    );
    check(create("Handler", json!(7)), "SerializationException: NUMBER_VALUE cannot be converted to String");
    check(create("Handler", json!(true)), "SerializationException: TRUE_VALUE cannot be converted to String");
    check(create("Handler", json!([])), "SerializationException: Start of list found where not expected");
    check(create("Handler", json!({})), "SerializationException: Start of structure or map found where not expected.");
    check(create("Code", json!("zip")), "SerializationException: Unexpected value type in payload");
    check(
        create("Code", json!({"ZipFile": "no base64!"})),
        "SerializationException: Invalid base64 in a binary member.",
    );
    check(create("Layers", json!("x")), "SerializationException: Expected list or null");
    check(create("Tags", json!("x")), "SerializationException: Expected map or null");
    check(create("Publish", json!("true")), "SerializationException: STRING_VALUE cannot be converted to Boolean");
    check(
        lambda("GET", "/2015-03-31/functions?MaxItems=many"),
        "SerializationException: STRING_VALUE cannot be converted to Integer",
    );
    check(
        lambda("POST", "/2015-03-31/functions").body("[]"),
        "SerializationException: Start of list found where not expected",
    );
    check(
        lambda("POST", "/2015-03-31/functions").body("{"),
        "SerializationException: Could not parse the body: EOF while parsing an object at line 1 column 1",
    );
}

#[test]
fn unknown_members_and_nulls_are_ignored() {
    check(create("SomethingNew", json!({"a": [1, 2]})), "read");
    check(create("Description", json!(null)), "read");
    check(Sample::logs("DescribeLogGroups", ""), "read");
}
