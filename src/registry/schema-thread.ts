/**
 * The leash of the schema worker: it starts with the first question, answers one at a time, and dies when an answer is
 * late. What surprises: the questions wait in one line for each schema, and the lines take turns, so that a schema
 * which overruns its deadline again and again delays the others by one overrun, not by all of them.
 */
import { Worker } from "node:worker_threads";
import { threadEnv } from "../threads.ts";
import type { Question, Reply } from "./schema-worker.ts";

export type SchemaThread = {
  /** Null where its turn did not come: too many questions wait, or it waited too long. Never rejects. */
  readonly ask: (question: Question) => Promise<Answer | null>;
  readonly close: () => void;
};

/** What took too much time or memory: to compile the schema, or, once that was done, to check these arguments. */
type Answer = Reply | { readonly kind: "uncompiled" | "overrun" };

export type Deadlines = {
  /** To compile one schema. */
  readonly compileMs: number;
  /** To check one call's arguments. */
  readonly checkMs: number;
  /** In the line. */
  readonly waitMs: number;
  /** Of a worker that nobody asks, until it ends. */
  readonly idleMs: number;
};

/** One worker for all schemas; started again after each death, when there is something to ask. */
export function createSchemaThread(deadlines: Deadlines): SchemaThread {
  const host: Host = { deadlines, lines: new Map(), running: null, worker: null, idle: undefined, closed: false };
  return {
    ask: (question) => enqueue(host, question),
    close: () => {
      host.closed = true;
      for (const job of [...host.lines.values()].flat()) settle(job, null);
      host.lines.clear();
      drop(host, host.running);
    },
  };
}

type Job = {
  readonly question: Question;
  readonly resolve: (answer: Answer | null) => void;
  timer: NodeJS.Timeout | undefined;
  /** Whose doing is it when no answer comes? The machine's, then the schema's, then the arguments'. */
  stage: "waiting" | "compiling" | "checking";
};
type Thread = { readonly worker: Worker; readonly ready: Promise<boolean> };
type Host = {
  readonly deadlines: Deadlines;
  /** By digest; a line is never empty. */
  readonly lines: Map<string, Job[]>;
  running: Job | null;
  worker: Thread | null;
  /** Ends a worker that nobody asks: it holds some 30 MB. */
  idle: NodeJS.Timeout | undefined;
  closed: boolean;
};

function enqueue(host: Host, question: Question): Promise<Answer | null> {
  const { lines, deadlines } = host;
  const line = lines.get(question.digest) ?? [];
  if (host.closed || line.length >= LINE_MAX || (line.length === 0 && lines.size >= LINES_MAX))
    return Promise.resolve(null);
  const { promise, resolve } = Promise.withResolvers<Answer | null>();
  const job: Job = { question, resolve, timer: undefined, stage: "waiting" };
  job.timer = setTimeout(() => leave(host, job), deadlines.waitMs);
  line.push(job);
  lines.set(question.digest, line);
  if (host.running === null) void next(host);
  return promise;
}

/** It has waited too long. */
function leave(host: Host, job: Job): void {
  const line = (host.lines.get(job.question.digest) ?? []).filter((one) => one !== job);
  if (line.length === 0) host.lines.delete(job.question.digest);
  else host.lines.set(job.question.digest, line);
  settle(job, null);
}

async function next(host: Host): Promise<void> {
  const [digest, line] = host.lines.entries().next().value ?? [];
  const job = line?.shift();
  clearTimeout(host.idle);
  if (digest === undefined || line === undefined || job === undefined || host.closed) {
    host.idle = setTimeout(() => drop(host, null), host.deadlines.idleMs).unref();
    return;
  }
  // to the end of the lines
  host.lines.delete(digest);
  if (line.length > 0) host.lines.set(digest, line);
  host.running = job;
  limitTo(host, job, START_MS_MAX);
  const thread = (host.worker ??= startThread(host));
  const ready = await thread.ready;
  // given up meanwhile: the thread that runs now is another's
  if (host.running !== job) return;
  if (!ready) return drop(host, job);
  // a thread that has just started compiles the schema again: that is not the arguments' time
  job.stage = "compiling";
  limitTo(host, job, host.deadlines.compileMs);
  thread.worker.postMessage(job.question);
}

function limitTo(host: Host, job: Job, deadlineMs: number): void {
  clearTimeout(job.timer);
  job.timer = setTimeout(() => drop(host, job), deadlineMs);
}

function startThread(host: Host): Thread {
  const worker = new Worker(new URL("schema-worker.ts", import.meta.url), {
    env: threadEnv(),
    resourceLimits: RESOURCE_LIMITS,
  });
  worker.unref();
  const { promise: ready, resolve } = Promise.withResolvers<boolean>();
  const thread: Thread = { worker, ready };
  worker.on("message", (reply: Reply) => {
    // a thread that was ended still delivers what it had sent: that answers a question nobody asks any more, not the next one
    if (host.worker !== thread) return;
    if (reply.kind === "ready") resolve(true);
    else if (reply.kind !== "compiled") finish(host, host.running, reply);
    else if (host.running !== null) {
      host.running.stage = "checking";
      limitTo(host, host.running, host.deadlines.checkMs);
    }
  });
  // out of memory, or a fault in Ajv: without a listener it would end the process
  worker.on("error", () => {});
  worker.on("exit", () => {
    resolve(false);
    if (host.worker === thread) drop(host, host.running);
  });
  return thread;
}

/** Ends the thread, and with it the question that it did not answer. */
function drop(host: Host, job: Job | null): void {
  const thread = host.worker;
  host.worker = null;
  void thread?.worker.terminate();
  finish(host, job, job === null || host.closed ? null : LOST[job.stage]);
}

function finish(host: Host, job: Job | null, answer: Answer | null): void {
  if (job === null || host.running !== job) return;
  host.running = null;
  settle(job, answer);
  void next(host);
}

function settle(job: Job, answer: Answer | null): void {
  clearTimeout(job.timer);
  job.resolve(answer);
}

/** The answer to a question whose worker was ended, by what it was at. */
const LOST = { waiting: null, compiling: { kind: "uncompiled" }, checking: { kind: "overrun" } } as const;
/** It loads Ajv first. */
const START_MS_MAX = 5000;
const LINE_MAX = 16;
const LINES_MAX = 256;
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 16, stackSizeMb: 4 };
