/**
 * What world does OPA's compiler see? None: no files, no arguments, no environment, no network, a clock that only
 * moves when it is looked at and randomness that is always the same, so that the same bundle gives the same answer
 * and the same diagnostics in the same order. What surprises: nothing ever sleeps; waiting moves the clock.
 */
const OK = 0;
const EBADF = 8;
const ENOENT = 44;
const ENOSYS = 52;
const LOG_CHARS_MAX = 4096;

export type Reactor = {
  readonly memory: WebAssembly.Memory;
  readonly rego_alloc: (size: number) => number;
  readonly rego_free: (address: number) => void;
  readonly rego_call: (address: number, size: number) => bigint;
};

type Host = {
  view: () => DataView;
  bytes: () => Uint8Array;
  nowNs: bigint;
  /** What the Go runtime wrote before it gave up. */
  log: string;
};
type Call = (...args: never[]) => number;

export function instantiate(module: WebAssembly.Module): Reactor {
  let memory: WebAssembly.Memory | undefined;
  const buffer = (): ArrayBuffer => {
    if (memory === undefined) throw new Error("the compiler called out before it was ready");
    return memory.buffer;
  };
  const host: Host = {
    view: () => new DataView(buffer()),
    bytes: () => new Uint8Array(buffer()),
    nowNs: 1_000_000_000n,
    log: "",
  };
  const calls: Record<string, Call> = { ...timeCalls(host), ...processCalls(host), ...fileCalls(host) };
  const imports: Record<string, Record<string, Call>> = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = calls[name] ?? (() => ENOSYS);
  }
  const exports = new WebAssembly.Instance(module, imports).exports as unknown as Reactor & { _initialize: () => void };
  memory = exports.memory;
  exports._initialize();
  return exports;
}

function timeCalls(host: Host): Record<string, Call> {
  return {
    sched_yield: () => OK,
    clock_time_get: (_id: number, _precision: bigint, out: number) => {
      host.nowNs += 1000n;
      host.view().setBigUint64(out, host.nowNs, true);
      return OK;
    },
    poll_oneoff: (subscriptions: number, events: number, count: number, countOut: number) => {
      const view = host.view();
      let ready = 0;
      for (let i = 0; i < count; i++) {
        const subscription = subscriptions + 48 * i;
        const isClock = view.getUint8(subscription + 8) === 0;
        if (!isClock) continue;
        const timeout = view.getBigUint64(subscription + 24, true);
        const isAbsolute = (view.getUint16(subscription + 40, true) & 1) === 1;
        if (!isAbsolute) host.nowNs += timeout;
        else if (timeout > host.nowNs) host.nowNs = timeout;
        const event = events + 32 * ready++;
        view.setBigUint64(event, view.getBigUint64(subscription, true), true);
        view.setUint16(event + 8, OK, true);
        view.setUint8(event + 10, 0);
      }
      view.setUint32(countOut, ready, true);
      return OK;
    },
  };
}

function processCalls(host: Host): Record<string, Call> {
  const none = (count: number, size: number): number => {
    host.view().setUint32(count, 0, true);
    host.view().setUint32(size, 0, true);
    return OK;
  };
  return {
    args_sizes_get: none,
    environ_sizes_get: none,
    args_get: () => OK,
    environ_get: () => OK,
    random_get: (address: number, size: number) => {
      host.bytes().fill(0x5a, address, address + size);
      return OK;
    },
    proc_exit: (code: number) => {
      throw new Error(`the compiler stopped with ${code}: ${host.log}`);
    },
  };
}

function fileCalls(host: Host): Record<string, Call> {
  const calls: Record<string, Call> = {
    fd_write: (_fd: number, vectors: number, count: number, written: number) => {
      const view = host.view();
      let total = 0;
      for (let i = 0; i < count; i++) {
        const address = view.getUint32(vectors + 8 * i, true);
        const size = view.getUint32(vectors + 8 * i + 4, true);
        host.log = (host.log + Buffer.from(host.bytes().subarray(address, address + size)).toString("utf8")).slice(
          -LOG_CHARS_MAX,
        );
        total += size;
      }
      view.setUint32(written, total, true);
      return OK;
    },
  };
  for (const name of [
    "close",
    "read",
    "readdir",
    "seek",
    "filestat_get",
    "fdstat_get",
    "fdstat_set_flags",
    "prestat_get",
    "prestat_dir_name",
  ]) {
    calls[`fd_${name}`] = () => EBADF;
  }
  for (const name of ["filestat_get", "readlink", "open"]) calls[`path_${name}`] = () => ENOENT;
  return calls;
}
