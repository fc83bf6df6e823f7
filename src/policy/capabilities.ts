/**
 * Which built-ins may a policy call? Those that OPA compiles into the wasm module itself, and those that the engine
 * adds (`builtins/table.ts`). All others would be undefined at call time: they are refused at compile time with file
 * and row. None reads a clock, draws randomness or reaches the network: time, time.now_ns too, is `input.request.time`.
 */
import { HOST_BUILTINS } from "./builtins/table.ts";

/** In the module. */
const groups: { readonly [prefix: string]: string } = {
  "": `abs and assign ceil concat contains count div endswith eq equal floor format_int glob.match
    graph.reachable gt gte indexof intersection lower lt lte max min minus mul neq or plus product rem replace
    round sort split startswith substring sum to_number type_name union upper walk`,
  "array.": "concat flatten reverse slice",
  "base64.": "decode encode is_valid",
  "base64url.": "decode encode",
  "bits.": "and lsh negate or rsh xor",
  "internal.": "member_2 member_3 template_string",
  is_: "array boolean null number object set string",
  "json.": "filter is_valid marshal remove unmarshal",
  "net.": "cidr_contains cidr_intersects",
  "numbers.": "range",
  "object.": "filter get keys remove union union_n",
  "regex.": "find_all_string_submatch_n is_valid match",
  "rego.metadata.": "chain rule",
  "strings.": "replace_n reverse",
  trim: " _left _prefix _right _space _suffix",
};

const NATIVE: readonly string[] = Object.entries(groups).flatMap(([prefix, names]) =>
  names.split(/\s+/u).map((name) => prefix + name),
);
export const BUILTINS: readonly string[] = [...NATIVE, ...Object.keys(HOST_BUILTINS)].toSorted();
/** What depends on when it is called, and so is no part of an answer that is remembered. */
export const TIMED_BUILTINS: readonly string[] = ["time.now_ns"];
/** For tests, which run in OPA's reference evaluator and may print. */
export const TEST_BUILTINS: readonly string[] = [...BUILTINS, "print", "internal.print", "internal.test_case"];
