/**
 * One address of one server version: its connection, opened when it is first needed and again when it died, and what
 * is in flight on it. Whether it may take calls: fitness.ts. Which of several does: balance.ts.
 */
import type { Answer, Discovery, InstanceSpec } from "../model.ts";
import { Refusal } from "../refusal.ts";
import { newLoad } from "./balance.ts";
import type { Load } from "./balance.ts";
import { TOO_LARGE, ping } from "./connection.ts";
import type { Connect, Connection, ConnectionOptions, Exchange } from "./connection.ts";
import { discover } from "./discover.ts";
import { trackFitness } from "./fitness.ts";
import type { Fitness, FitnessOptions } from "./fitness.ts";

export type Instance = {
  readonly spec: InstanceSpec;
  readonly server: string;
  readonly version: string;
  readonly load: Load;
  readonly fitness: Fitness;
  readonly stderr: () => string;
  readonly send: (exchange: Exchange) => Promise<Answer>;
  readonly discover: (signal: AbortSignal) => Promise<Discovery>;
  /** A call ran into its deadline, sent or not: finds out whether the instance answers at all, and resolves to that. */
  readonly suspect: (sent: boolean) => Promise<boolean>;
  /** Finds that out of one that nobody calls. */
  readonly look: () => void;
  /** Finds it out of one that is called, and has said nothing for a while. */
  readonly watch: () => void;
  /** Takes no new calls and closes when the last is done. */
  readonly drain: () => Promise<void>;
  readonly abandon: () => void;
};
export type InstanceOptions = {
  readonly connect: Connect;
  readonly connection: Omit<ConnectionOptions, "onListChanged" | "onDied">;
  readonly fitness: Pick<FitnessOptions, "backoffFirstMs" | "backoffMaxMs" | "terms" | "mayEject" | "onTurn">;
  /** Whether others can take its calls. */
  readonly maySpare: () => boolean;
  readonly onListChanged: (instance: Instance) => void;
};
type Suspicion = {
  readonly answers: Promise<boolean>;
  /** A call ran into its deadline. */
  waited: boolean;
  /** It was silent already. */
  silent: boolean;
  /** Calls that ran into their deadlines, and count against it if it is silent. */
  late: number;
};
type Inner = {
  readonly current: () => Connection;
  readonly last: () => Connection | null;
  readonly fitness: Fitness;
  readonly resultBytesMax: number;
  readonly load: Load;
  readonly nowMs: () => number;
  readonly maySpare: () => boolean;
  /** When it last said something, or had nothing to say; and how long it may say nothing before it is asked. */
  heardMs: number;
  patienceMs: number;
  /** One for all who wait. */
  suspicion: Suspicion | null;
  draining: (() => void) | null;
};

export function openInstance(
  spec: InstanceSpec,
  of: { readonly server: string; readonly version: string },
  options: InstanceOptions,
): Instance {
  let connection: Connection | null = null;
  const current = (): Connection => {
    if (connection !== null && connection.alive()) return connection;
    if (inner.draining !== null) throw new Refusal("upstream_unavailable", "The server is being removed.");
    return (connection = options.connect(spec, {
      ...options.connection,
      onListChanged: () => options.onListChanged(instance),
      // whose call ended it, that call says
      onDied: () => inner.load.inFlight > 0 || fitness.failed(new Refusal("upstream_error", ENDED), false),
    }));
  };
  const { resultBytesMax, ports } = options.connection;
  const fitness = trackFitness({
    ...options.fitness,
    ports,
    probe: () => probe(inner),
  });
  const inner: Inner = {
    current,
    last: () => connection,
    fitness,
    resultBytesMax,
    load: newLoad(1, ports.clock.monotonicMs()),
    nowMs: ports.clock.monotonicMs,
    maySpare: options.maySpare,
    heardMs: ports.clock.monotonicMs(),
    patienceMs: PATIENCE_MS,
    suspicion: null,
    draining: null,
  };
  const instance: Instance = {
    spec,
    server: of.server,
    version: of.version,
    load: inner.load,
    fitness,
    stderr: () => connection?.stderr() ?? "",
    send: (exchange) => send(inner, exchange),
    discover: (signal) => discovered(inner, signal),
    suspect: (sent) => suspect(inner, sent),
    look: () => {
      if (inner.fitness.state() !== "set_aside") void suspicionOf(inner).answers;
    },
    watch: () => {
      const isQuiet = inner.load.inFlight > 0 && inner.nowMs() - inner.heardMs >= inner.patienceMs;
      // the second that has passed counts
      if (isQuiet && inner.fitness.state() !== "set_aside") void suspicionOf(inner, 1).answers;
    },
    drain: () => drain(inner),
    abandon: () => connection?.abandon(),
  };
  return instance;
}

/** How long one that is called may say nothing before it is asked; where it answers then, twice as long, for a long call is no fault. */
const PATIENCE_MS = 1_000;
const PATIENCE_MAX_MS = 8_000;

function heard(inner: Inner): void {
  inner.heardMs = inner.nowMs();
  inner.patienceMs = PATIENCE_MS;
}

function enter(inner: Inner): void {
  if (inner.load.inFlight++ === 0) heard(inner);
}

function leave(inner: Inner): void {
  inner.load.inFlight--;
  if (inner.load.inFlight === 0) inner.draining?.();
}

async function send(inner: Inner, exchange: Exchange): Promise<Answer> {
  enter(inner);
  try {
    const answer = await inner.current().send(exchange);
    heard(inner);
    inner.fitness.worked(exchange.tenant);
    return answer;
  } catch (thrown) {
    const refusal = Refusal.from(thrown);
    const unreached = refusal.code === "upstream_unavailable" && exchange.executed === "no";
    // what a tool says is its own doing, and how much of it is
    if (refusal.detail.cause === TOO_LARGE) exchange.excused = true;
    if (exchange.excused) inner.fitness.noted(refusal);
    // who gave up says nothing of the instance: for a deadline see suspect()
    else if (exchange.gaveUp === null) inner.fitness.failed(refusal, unreached, exchange.tenant);
    if (exchange.gaveUp === null) heard(inner);
    throw refusal;
  } finally {
    leave(inner);
  }
}

async function discovered(inner: Inner, signal: AbortSignal): Promise<Discovery> {
  enter(inner);
  try {
    const connection = inner.current();
    const found = await discover(connection, inner.resultBytesMax, signal);
    inner.fitness.met();
    inner.fitness.worked(null);
    if (inner.draining === null) connection.listen();
    return found;
  } catch (thrown) {
    const refusal = Refusal.from(thrown);
    // a list that is broken says nothing against the tools that are known
    if (refusal.code === "upstream_error") inner.fitness.noted(refusal);
    else if (refusal.code !== "cancelled") inner.fitness.failed(refusal, true);
    throw refusal;
  } finally {
    leave(inner);
  }
}

async function probe(inner: Inner): Promise<void> {
  const connection = inner.current();
  const greeting = await connection.open();
  if (!(await ping(connection, greeting))) {
    // a child that hangs does not come back by itself: the next probe starts another; but not while it may be at work
    if (inner.load.inFlight === 0) connection.abandon();
    throw silent();
  }
  if (inner.draining === null) connection.listen();
}

function suspect(inner: Inner, sent: boolean): Promise<boolean> {
  if (inner.fitness.state() === "set_aside") return Promise.resolve(false);
  // it was not even met: a probe would wait in the same place
  if (!sent) {
    inner.fitness.failed(silent(), false);
    return Promise.resolve(false);
  }
  const suspicion = suspicionOf(inner);
  suspicion.waited = true;
  if (suspicion.silent) inner.fitness.failed(silent(), false);
  else suspicion.late++;
  return suspicion.answers;
}

/** Seconds in a row: longer than what a collector of garbage takes, or a machine that is moved. */
const SILENT_MAX = 3;

/** `seconds`: of silence that were heard already. */
function suspicionOf(inner: Inner, seconds = 0): Suspicion {
  if (inner.suspicion !== null) return inner.suspicion;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const suspicion: Suspicion = { answers: promise, waited: false, silent: false, late: 0 };
  inner.suspicion = suspicion;
  void listenFor(inner, suspicion, seconds).then((answers) => {
    inner.suspicion = null;
    resolve(answers);
  });
  return suspicion;
}

/** Set aside is what is silent for so long, or, as by Envoy's rules, what let so many calls in a row run into their deadlines. */
async function listenFor(inner: Inner, suspicion: Suspicion, before: number): Promise<boolean> {
  const { fitness, last, current } = inner;
  for (let seconds = before + 1; ; seconds++) {
    // one that had no call yet is met now
    const answers = await Promise.try(() => last() ?? current())
      .then(async (connection) => ping(connection, await connection.open()))
      .catch(() => false);
    if (answers) {
      inner.heardMs = inner.nowMs();
      inner.patienceMs = Math.min(2 * inner.patienceMs, PATIENCE_MAX_MS);
      if (fitness.state() === "idle") fitness.met();
      return true;
    }
    suspicion.silent = true;
    for (; suspicion.late > 0; suspicion.late--) fitness.failed(silent(), false);
    if (fitness.state() === "set_aside") return false;
    if (seconds < SILENT_MAX) continue;
    // it may be at work: nobody has waited too long for it yet
    if (before > 0 && !suspicion.waited && !inner.maySpare()) return false;
    fitness.failed(silent(), true);
    return false;
  }
}

async function drain(inner: Inner): Promise<void> {
  inner.fitness.stop();
  await new Promise<void>((resolve) => {
    inner.draining = resolve;
    if (inner.load.inFlight === 0) resolve();
  });
  await inner.last()?.close();
}

const ENDED = "The server's process ended.";

function silent(): Refusal {
  return new Refusal("upstream_unavailable", "The server does not answer.");
}
