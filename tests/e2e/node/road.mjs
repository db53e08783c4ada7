// One function's whole road with the AWS SDK for JavaScript; prints what was seen as JSON.

import fs from "node:fs";
import {
  CreateFunctionCommand,
  DeleteFunctionCommand,
  GetFunctionCommand,
  InvokeCommand,
  LambdaClient,
  UpdateFunctionConfigurationCommand,
  waitUntilFunctionActiveV2,
  waitUntilFunctionUpdatedV2,
} from "@aws-sdk/client-lambda";

const [name, zip] = process.argv.slice(2);
const client = new LambdaClient({ maxAttempts: 1 });
const wait = { client, maxWaitTime: 30, minDelay: 1, maxDelay: 1 };
const invoke = (event) => client.send(new InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event) }));
const answerOf = (response) => JSON.parse(Buffer.from(response.Payload).toString());

const made = await client.send(
  new CreateFunctionCommand({
    FunctionName: name,
    Runtime: "nodejs20.x",
    Handler: "index.handler",
    Role: "arn:aws:iam::000000000000:role/anything",
    Code: { ZipFile: fs.readFileSync(zip) },
  }),
);
await waitUntilFunctionActiveV2(wait, { FunctionName: name });
const answer = answerOf(await invoke({ who: "Ada" }));

await client.send(new UpdateFunctionConfigurationCommand({ FunctionName: name, Handler: "index.missing" }));
await waitUntilFunctionUpdatedV2(wait, { FunctionName: name });
const failed = await invoke({});

await client.send(new DeleteFunctionCommand({ FunctionName: name }));
const gone = await client.send(new GetFunctionCommand({ FunctionName: name })).catch((error) => error.name);

console.log(JSON.stringify({ pending: made.State, answer, failed: failed.FunctionError, gone }));
