/**
 * Is this instance fit for a call? One address with its connection, what is in flight on it, and whether it is set
 * aside. What surprises: a caller's call is never the test of an instance that failed; a probe in the background is,
 * after a pause that doubles with each failure.
 */
import type { Answer, Discovery, InstanceSpec } from "../model.ts";
import { Refusal } from "../refusal.ts";
import { ping } from "./connection.ts";
import type { Connect, Connection, ConnectionOptions, Exchange } from "./connection.ts";
import { discover } from "./discover.ts";

export type Instance = {
  readonly spec: InstanceSpec;
  readonly server: string;
  readonly version: string;
  readonly state: () => "idle" | "ready" | "set_aside";
  readonly inFlight: () => number;
  /** Constant words. */
  readonly lastError: () => string | null;
  readonly stderr: () => string;
  readonly send: (exchange: Exchange) => Promise<Answer>;
  readonly discover: (signal: AbortSignal) => Promise<Discovery>;
  /** A call ran into its deadline: find out whether the instance still answers. */
  readonly suspect: () => void;
  /** Takes no new calls and closes when the last is done. */
  readonly drain: () => Promise<void>;
  readonly abandon: () => void;
};
export type InstanceOptions = {
  readonly connect: Connect;
  readonly connection: Omit<ConnectionOptions, "onListChanged" | "onDied">;
  readonly backoffFirstMs: number;
  readonly backoffMaxMs: number;
  readonly onListChanged: (instance: Instance) => void;
};

/** Failures in a row, after sending, that set an instance aside. Failing to connect does at once. */
const FAILURES_MAX = 3;

export function openInstance(
  spec: InstanceSpec,
  of: { server: string; version: string },
  options: InstanceOptions,
): Instance {
  let connection: Connection | null = null;
  let inFlight = 0;
  let failures = 0;
  /** How often it was set aside since it last did its work: what the pause doubles with. */
  let pauses = 0;
  let setAside = false;
  let suspected = false;
  let used = false;
  let draining: (() => void) | null = null;
  let timer: NodeJS.Timeout | null = null;
  let lastError: string | null = null;
  let stderr = "";

  const current = (): Connection => {
    if (connection !== null && connection.alive()) return connection;
    if (draining !== null) throw new Refusal("upstream_unavailable", "The server is being removed.");
    if (connection !== null) stderr = connection.stderr();
    return (connection = options.connect(spec, {
      ...options.connection,
      onListChanged: () => options.onListChanged(instance),
      onDied: () => failed(new Refusal("upstream_error", "The server's process ended."), false),
    }));
  };
  const answers = (): void => {
    failures = 0;
    used = true;
    setAside = false;
    lastError = null;
  };
  const succeeded = (): void => {
    answers();
    pauses = 0;
  };
  const failed = (refusal: Refusal, hard: boolean): void => {
    failures++;
    lastError = refusal.message;
    if (draining !== null || setAside || (!hard && failures < FAILURES_MAX)) return;
    setAside = true;
    connection?.forget();
    probeLater();
  };
  const probeLater = (): void => {
    const pause = Math.min(options.backoffFirstMs * 2 ** pauses, options.backoffMaxMs);
    pauses++;
    timer = setTimeout(probe, pause * (0.75 + options.connection.ports.random.fraction() / 2)).unref();
  };
  const probe = async (): Promise<void> => {
    try {
      const opened = current();
      const greeting = await opened.open();
      if (!(await ping(opened, greeting))) throw new Refusal("upstream_unavailable", "The server does not answer.");
      // not succeeded(): a server that starts well and falls at each call is paused for longer each time
      answers();
      if (draining === null) opened.listen();
    } catch (thrown) {
      if (draining !== null) return;
      lastError = Refusal.from(thrown).message;
      connection?.forget();
      probeLater();
    }
  };
  const leave = (): void => {
    inFlight--;
    if (inFlight === 0) draining?.();
  };

  const instance: Instance = {
    spec,
    server: of.server,
    version: of.version,
    state: () => (setAside ? "set_aside" : used ? "ready" : "idle"),
    inFlight: () => inFlight,
    lastError: () => lastError,
    stderr: () => connection?.stderr() ?? stderr,
    send: async (exchange) => {
      inFlight++;
      try {
        const answer = await current().send(exchange);
        succeeded();
        return answer;
      } catch (thrown) {
        const refusal = Refusal.from(thrown);
        if (exchange.gaveUp === null)
          failed(refusal, refusal.code === "upstream_unavailable" && exchange.executed === "no");
        throw refusal;
      } finally {
        leave();
      }
    },
    discover: async (signal) => {
      inFlight++;
      try {
        const opened = current();
        const found = await discover(opened, options.connection.resultBytesMax, signal);
        succeeded();
        if (draining === null) opened.listen();
        return found;
      } catch (thrown) {
        const refusal = Refusal.from(thrown);
        // a list that is broken says nothing against the tools that are known
        if (refusal.code === "upstream_error") lastError = refusal.message;
        else if (refusal.code !== "cancelled") failed(refusal, true);
        throw refusal;
      } finally {
        leave();
      }
    },
    suspect: () => {
      const opened = connection;
      if (suspected || setAside || opened === null) return;
      suspected = true;
      opened
        .open()
        .then((greeting) => ping(opened, greeting))
        .catch(() => false)
        .then((alive) => {
          suspected = false;
          if (alive) used = true;
          else failed(new Refusal("upstream_unavailable", "The server does not answer."), true);
        });
    },
    drain: async () => {
      clearTimeout(timer ?? undefined);
      await new Promise<void>((resolve) => {
        draining = resolve;
        if (inFlight === 0) resolve();
      });
      await connection?.close();
    },
    abandon: () => connection?.abandon(),
  };
  return instance;
}
