//! What botocore sends is routed, its signature accepted, and its input read.

use crate::sample::Sample;
use base::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use expect_test::{Expect, expect};
use serde_json::Value;
use wire::sigv4::{BodyHash, SigningKeys, verify};
use wire::{Input, lambda, operations};
use zeroize::Zeroizing;

/// Operation and request, in the order of `make_requests.py`.
fn recorded() -> Vec<(String, Sample)> {
    let requests: Vec<Value> = serde_json::from_str(include_str!("../data/requests.json")).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let sample = |request: &Value| {
        let uri = format!("{}?{}", text(&request["path"]), text(&request["query"]));
        let mut sample = Sample::new(&text(&request["method"]), &uri);
        for (name, value) in request["headers"].as_object().expect("headers") {
            sample = sample.header(name, &text(value));
        }
        sample.body(STANDARD.decode(text(&request["body"])).expect("base64"))
    };
    requests.iter().map(|request| (text(&request["operation"]), sample(request))).collect()
}

fn inputs(operation: &str) -> Vec<Input> {
    let samples = recorded().into_iter().filter(|(name, _)| name == operation);
    samples.map(|(name, sample)| sample.decode().unwrap_or_else(|error| panic!("{name}: {error}"))).collect()
}

#[test]
fn every_served_operation_was_recorded() {
    let recorded = recorded();
    for operation in operations().filter(|operation| operation.served) {
        assert!(recorded.iter().any(|(name, _)| name == operation.name), "{}", operation.name);
    }
}

#[test]
fn every_recorded_request_is_routed_and_its_signature_accepted() {
    let cache = SigningKeys::new();
    for (name, sample) in recorded() {
        let route = sample.route().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(route.operation.name, name);
        assert_eq!(sample.decode().unwrap_or_else(|error| panic!("{name}: {error}")).operation(), name);
        let now = Timestamp::from_millis(1_795_359_845_000);
        let lookup =
            |_: &str, _: Option<&str>| Ok(Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()));
        let signed = verify(&sample.parts(), BodyHash::Of(&sample.body), now, lookup, &cache);
        let signed = signed.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(signed.service, route.service.info().signing_name);
    }
}

/// The inputs of all recorded calls of an operation.
fn check(operation: &str, expected: Expect) {
    let shown: Vec<String> = inputs(operation).iter().map(|input| format!("{input:?}\n")).collect();
    expected.assert_eq(&shown.concat());
}

#[test]
fn labels_and_parameters_are_decoded() {
    check(
        "GetFunction",
        expect![[r#"
        Lambda(GetFunction(GetFunctionRequest { function_name: "hello", qualifier: None }))
        Lambda(GetFunction(GetFunctionRequest { function_name: "arn:aws:lambda:eu-central-1:000000000000:function:hello:live", qualifier: Some("$LATEST") }))
    "#]],
    );
    check(
        "ListFunctions",
        expect![[r#"
        Lambda(ListFunctions(ListFunctionsRequest { function_version: None, marker: None, master_region: None, max_items: None }))
        Lambda(ListFunctions(ListFunctionsRequest { function_version: Some(All), marker: Some("a b+c/=&"), master_region: None, max_items: Some(3) }))
    "#]],
    );
    check(
        "DeleteFunction",
        expect![[r#"
        Lambda(DeleteFunction(DeleteFunctionRequest { function_name: "hello", qualifier: None }))
        Lambda(DeleteFunction(DeleteFunctionRequest { function_name: "hello", qualifier: Some("2") }))
    "#]],
    );
}

#[test]
fn bodies_in_json_are_read() {
    check(
        "UpdateFunctionConfiguration",
        expect![[r#"
        Lambda(UpdateFunctionConfiguration(UpdateFunctionConfigurationRequest { accelerator_config: None, capacity_provider_config: None, dead_letter_config: None, description: None, durable_config: None, environment: Some(Environment { .. }), ephemeral_storage: None, file_system_configs: None, function_name: "hello", handler: None, image_config: None, kms_key_arn: None, layers: None, logging_config: None, memory_size: None, revision_id: None, role: None, runtime: None, runtime_config: None, snap_start: None, timeout: Some(9), tracing_config: None, vpc_config: None }))
        Lambda(UpdateFunctionConfiguration(UpdateFunctionConfigurationRequest { accelerator_config: None, capacity_provider_config: None, dead_letter_config: None, description: None, durable_config: None, environment: None, ephemeral_storage: None, file_system_configs: None, function_name: "hello", handler: None, image_config: None, kms_key_arn: None, layers: Some([]), logging_config: None, memory_size: None, revision_id: Some("r2"), role: None, runtime: None, runtime_config: None, snap_start: None, timeout: None, tracing_config: None, vpc_config: None }))
    "#]],
    );
    check(
        "DescribeLogGroups",
        expect![[r#"
        Logs(DescribeLogGroups(DescribeLogGroupsRequest { account_identifiers: None, include_linked_accounts: None, limit: None, log_group_class: None, log_group_identifiers: None, log_group_name_pattern: None, log_group_name_prefix: None, next_token: None }))
        Logs(DescribeLogGroups(DescribeLogGroupsRequest { account_identifiers: None, include_linked_accounts: None, limit: Some(2), log_group_class: None, log_group_identifiers: None, log_group_name_pattern: None, log_group_name_prefix: Some("/aws"), next_token: Some("n") }))
    "#]],
    );
    check(
        "PutLogEvents",
        expect![[r#"
        Logs(PutLogEvents(PutLogEventsRequest { entity: None, log_events: [InputLogEvent { message: "öne", timestamp: 1763823845000 }, InputLogEvent { message: "two\n", timestamp: 1763823846000 }], log_group_name: "g", log_stream_name: "s", sequence_token: None }))
    "#]],
    );
    check(
        "FilterLogEvents",
        expect![[r#"
        Logs(FilterLogEvents(FilterLogEventsRequest { end_time: Some(5), filter_pattern: Some("ERROR"), interleaved: None, limit: None, log_group_identifier: None, log_group_name: Some("g"), log_stream_name_prefix: None, log_stream_names: Some(["a", "b"]), next_token: None, start_from_head: None, start_time: None, unmask: None }))
    "#]],
    );
    check(
        "GetCallerIdentity",
        expect![[r#"
        Sts(GetCallerIdentity(GetCallerIdentityRequest))
    "#]],
    );
}

#[test]
fn a_function_is_read_with_its_code_and_environment() {
    let inputs = inputs("CreateFunction");
    let [Input::Lambda(lambda::Input::CreateFunction(small)), Input::Lambda(lambda::Input::CreateFunction(large))] =
        &inputs[..]
    else {
        panic!("two of them");
    };
    assert_eq!(small.code.zip_file.as_deref(), Some(&b"PK\x05\x06"[..]));
    assert_eq!(small.runtime.as_deref(), Some("python3.13"));
    let variables =
        large.environment.as_ref().and_then(|environment| environment.variables.as_ref()).expect("variables");
    assert_eq!(variables["STAGE"], "test");
    assert_eq!(variables["EMPTY"], "");
    assert_eq!(large.architectures, Some(vec![lambda::Architecture::Arm64]));
    assert_eq!(large.description.as_deref(), Some("says \"hello\" to ünïcode"));
    assert_eq!(large.tags.as_ref().expect("tags")["team"], "tööls");
    assert_eq!(large.vpc_config.as_ref().expect("a VPC").security_group_ids, Some(vec![]));
}

#[test]
fn secrets_do_not_show_when_an_input_is_printed() {
    for input in inputs("CreateFunction") {
        let shown = format!("{input:?}");
        assert!(!shown.contains("STAGE") && !shown.contains("PK"), "{shown}");
    }
}

#[test]
fn an_invocation_is_read_from_headers_path_and_body() {
    let inputs = inputs("Invoke");
    let invocations: Vec<&lambda::InvocationRequest> = inputs
        .iter()
        .map(
            |input| {
                if let Input::Lambda(lambda::Input::Invoke(request)) = input { request } else { panic!("{input:?}") }
            },
        )
        .collect();
    assert_eq!(invocations[0].payload, None);
    assert_eq!(invocations[0].invocation_type, None);
    assert_eq!(invocations[1].function_name, "arn:aws:lambda:eu-central-1:000000000000:function:hello:live");
    assert_eq!(invocations[1].payload, Some(Bytes::from("{\"name\": \"wörld\"}")));
    assert_eq!(invocations[1].log_type, Some(lambda::LogType::Tail));
    assert_eq!(invocations[1].client_context.as_deref(), Some("eyJjdXN0b20iOnsiYSI6ImIifX0="));
    assert_eq!(invocations[1].qualifier.as_deref(), Some("live"));
    assert_eq!(invocations[2].payload, Some(Bytes::from_static(b"\xff\x00 not JSON")));
    assert_eq!(invocations[2].invocation_type, Some(lambda::InvocationType::Event));
    assert_eq!(invocations[3].invocation_type, Some(lambda::InvocationType::DryRun));
    assert_eq!(invocations[3].tenant_id.as_deref(), Some("t 1"));
}
