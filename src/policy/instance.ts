/**
 * What does a policy run in? A metered module with memory of its own, in which its data stands as OPA's values. What
 * surprises: to make those of megabytes of JSON takes a second, to copy them a few milliseconds a piece, wherever they were
 * made; so a policy with much data is loaded by another thread, and a memory that grew too large is given back, by copying.
 */
import * as stock from "@open-policy-agent/opa-wasm";
import type { JsonObject } from "../model.ts";
import { HOST_BUILTINS } from "./builtins/table.ts";
import type { Roles } from "./data.ts";
import { type Host, instantiate } from "./host.ts";
import { FUEL, STACK_POINTER } from "./meter.ts";

export type InstanceOptions = {
  /** 64 KiB each; data takes about ten times its JSON. */
  readonly memoryPagesMax?: number;
  /** What time.now_ns is where the input has no request.time; RFC 3339. */
  readonly now?: string;
  /** What stands at `data.portcullis.roles`. */
  readonly roles?: Roles;
};
export type Instance = {
  readonly module: WebAssembly.Module;
  readonly policy: stock.LoadedPolicy;
  readonly host: Host;
  readonly entrypoints: ReadonlyMap<string, number>;
  readonly fuel: WebAssembly.Global;
  readonly stackPointer: WebAssembly.Global;
  readonly stackTop: number;
};
/** Of an instance, all that another one needs to have the same data. */
export type Image = {
  readonly module: WebAssembly.Module;
  /** How large its memory has to be. */
  readonly memoryBytes: number;
  /** What no evaluation changes: where they begin, and OPA's own variables end. */
  readonly data: Uint8Array<ArrayBuffer>;
  readonly dataAddress: number;
};

/** What its declarations name as exports are properties of its default export; and what moves is no secret of theirs. */
const { LoadedPolicy } = (stock as unknown as { readonly default: typeof stock }).default;
type Loaded = { readonly baseHeapPtr: number; dataAddr: number; dataHeapPtr: number };

/** From 1.2 on, one call evaluates; OPA has had 1.3 for years. */
const OPA_ABI_MINOR = 3;
const PAGE_BYTES = 65_536;
const PAGES_MIN = 5;
/** Some milliseconds. */
const PIECE_BYTES = 4 * 2 ** 20;

/** `data`: JSON of an object. @throws Error if it does not fit, or the module needs a built-in that there is none of */
export function loadInstance(module: WebAssembly.Module, data: string, options: InstanceOptions): Instance {
  const instance = emptyInstance(module, PAGES_MIN, options);
  try {
    instance.policy.setData(new TextEncoder().encode(data).buffer);
    if (options.roles !== undefined) addRoles(instance, options.roles);
  } catch (cause) {
    // opa-wasm throws strings
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the policy's data cannot be loaded: ${why}`, { cause });
  }
  return instance;
}

/** `data` is a view, which is of no more use once memory has grown. */
export function imageOf({ module, policy, host }: Instance, memoryBytes = host.memory.buffer.byteLength): Image {
  const { baseHeapPtr, dataAddr, dataHeapPtr } = policy as unknown as Loaded;
  const data = new Uint8Array(host.memory.buffer, baseHeapPtr, dataHeapPtr - baseHeapPtr);
  return { module, memoryBytes, data, dataAddress: dataAddr };
}

export type Copying = {
  readonly instance: Instance;
  /** Copies one piece more; true where that was the last one. */
  readonly step: () => boolean;
};

/** `image` is asked anew for each piece: between two of them, evaluations may be made. */
export function copyInstance(image: () => Image, options: InstanceOptions): Copying {
  const { module, memoryBytes, data, dataAddress } = image();
  const size = data.length;
  const instance = emptyInstance(module, memoryBytes / PAGE_BYTES, options);
  // its own variables stay: where memory ends, say, is not where it ended there
  const loaded = instance.policy as unknown as Loaded;
  loaded.dataAddr = dataAddress;
  loaded.dataHeapPtr = loaded.baseHeapPtr + size;
  const memory = new Uint8Array(instance.host.memory.buffer, loaded.baseHeapPtr);
  let at = 0;
  const step = (): boolean => {
    memory.set(image().data.subarray(at, at + PIECE_BYTES), at);
    at += PIECE_BYTES;
    return at >= size;
  };
  return { instance, step };
}

function emptyInstance(module: WebAssembly.Module, initial: number, options: InstanceOptions): Instance {
  const { memoryPagesMax = 4096, now } = options;
  const memory = { initial, maximum: memoryPagesMax };
  const host = instantiate(module, { builtins: HOST_BUILTINS, memory, now });
  const { exports } = host.instance;
  const policy = new LoadedPolicy({ instance: host.instance, module }, host.memory, OPA_ABI_MINOR);
  const stackPointer = exports[STACK_POINTER] as WebAssembly.Global;
  return {
    module,
    policy,
    host,
    entrypoints: new Map(Object.entries(policy.entrypoints as { readonly [path: string]: number })),
    fuel: exports[FUEL] as WebAssembly.Global,
    stackPointer,
    stackTop: stackPointer.value,
  };
}

type Exports = {
  readonly opa_malloc: (length: number) => number;
  readonly opa_json_parse: (address: number, length: number) => number;
  readonly opa_value_add_path: (base: number, path: number, value: number) => number;
  readonly opa_heap_ptr_get: () => number;
};

/** In OPA's memory: the data is text, which nobody here takes apart. */
function addRoles({ policy, host }: Instance, roles: Roles): void {
  const loaded = policy as unknown as Loaded;
  const exports = host.instance.exports as unknown as Exports;
  const valueOf = (value: JsonObject | readonly string[]): number => {
    const bytes = new TextEncoder().encode(JSON.stringify(value));
    const address = exports.opa_malloc(bytes.length);
    new Uint8Array(host.memory.buffer).set(bytes, address);
    return exports.opa_json_parse(address, bytes.length);
  };
  const fault = exports.opa_value_add_path(loaded.dataAddr, valueOf(["portcullis", "roles"]), valueOf(roles));
  if (fault !== 0) throw new Error("there is no room for the roles");
  loaded.dataHeapPtr = exports.opa_heap_ptr_get();
}
