// The behaviour table's handlers as a CommonJS module: `do` in the event says which.

"use strict";

const fs = require("fs");

let calls = 0;

class Boom extends Error {
  constructor(message) {
    super(message);
    this.name = "Boom";
  }
}

const actions = {
  echo: (event) => event.value,
  calls: () => calls,
  context: (event, context) => ({
    request_id: context.awsRequestId,
    function_name: context.functionName,
    version: context.functionVersion,
    arn: context.invokedFunctionArn,
    memory: context.memoryLimitInMB,
    log_group: context.logGroupName,
    log_stream: context.logStreamName,
    trace: process.env._X_AMZN_TRACE_ID,
    client_context: context.clientContext && context.clientContext.custom,
    remaining_ms: context.getRemainingTimeInMillis(),
  }),
  environment: () => ({ ...process.env }),
  remaining: (event, context) => context.getRemainingTimeInMillis(),
  raise: (event) => {
    throw new Boom(event.message);
  },
  print: (event) => {
    for (const line of event.lines) process.stdout.write(line + "\n");
  },
  log: (event) => {
    console.error(event.message);
  },
  sleep: (event) => new Promise((done) => setTimeout(() => done("slept"), 1000 * (event.seconds ?? 60))),
  spin: () => {
    for (;;);
  },
  exit: (event) => process.exit(event.code ?? 1),
  answer: (event) => "x".repeat(event.bytes),
  unserializable: () => {
    const circle = {};
    circle.circle = circle;
    return circle;
  },
  memory: (event) => {
    const filled = Buffer.alloc(event.mib << 20);
    for (let at = 0; at < filled.length; at += 4096) filled[at] = 1;
    return filled.length / 4096;
  },
  keep: (event) => {
    const before = fs.existsSync("/tmp/kept") ? fs.readFileSync("/tmp/kept", "utf8") : null;
    fs.writeFileSync("/tmp/kept", event.text);
    return before;
  },
};

console.log("init says hello");
if (process.env.INIT === "exit") process.exit(7);
if (process.env.INIT === "raise") throw new Error("init failed on purpose");

exports.handler = async (event, context) => {
  calls += 1;
  return actions[event.do ?? "echo"](event, context);
};

// The older form: an answer through a callback.
exports.callback = (event, context, callback) => {
  if (event.fail) callback(new Boom(event.fail));
  else setTimeout(() => callback(null, { called: event.value }), 1);
};
