/** The only file that knows `process`: arguments, environment, signals and exit codes go in and out here. */
import { flushCompileCache } from "node:module";
import { pino } from "pino";
import { run } from "./cli/run.ts";
import { realPorts } from "./ports.ts";

const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 2, sync: true }));
const ports = realPorts({
  info: (fields, message) => log.info(fields, message),
  warn: (fields, message) => log.warn(fields, message),
  error: (fields, message) => log.error(fields, message),
});

process.on("uncaughtException", (cause) => {
  log.fatal({ err: cause }, "stopping: the state of the process is unknown");
  process.exit(70);
});

// whoever reads a pipe may leave early (`| head`): the command is then done, the gateway goes on
process.stdout.on("error", () => process.exit());
process.stderr.on("error", () => undefined);

process.exitCode = await run(process.argv.slice(2), {
  env: process.env,
  cwd: process.cwd(),
  ports,
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  stdin: process.stdin,
  // loaded only when it runs: the other commands start in a tenth of the time
  serve: async (options) =>
    (await import("./serve.ts")).serve({
      ...options,
      ports,
      env: process.env,
      cwd: process.cwd(),
      production: process.env["NODE_ENV"] === "production",
      stderr: (text) => void process.stderr.write(text),
      // Node would write it at the end, and a process that is killed has none: each start would compile all code anew
      onReady: flushCompileCache,
      onSignal: (signal, listener) => void process.on(signal, listener),
      onExit: (listener) => void process.once("exit", listener),
    }),
});
