/** Which addresses does a network hold? net.cidr_* that OPA's module lacks. An IPv4 address in IPv6 clothes is IPv4. */
import { type Builtins, stringAt, unfit } from "./operand.ts";
import { setOf } from "./order.ts";
import { isArray, isObject, isSet, num, type Term } from "./term.ts";
import { addressText, contains, type Network, parseAddress, parseNetwork } from "./address.ts";
import { merged } from "./merge.ts";

export const net: Builtins = {
  "net.cidr_is_valid": ([text]) => typeof text === "string" && parseNetwork(text) !== null,
  "net.cidr_expand": (operands, { charge }) => {
    const { bits, first, prefix } = parseNetwork(stringAt(operands, 0)) ?? unfit();
    const free = bits - prefix;
    charge(free > 20 ? Number.MAX_SAFE_INTEGER : 2 ** free * 16);
    return { set: Array.from({ length: 2 ** free }, (_, at) => addressText(bits, first + BigInt(at))) };
  },
  "net.cidr_merge": (operands, { charge }) => {
    const operand = operands[0] as Term;
    const items = isArray(operand) ? operand : isSet(operand) ? operand.set : unfit();
    charge(items.length * 256);
    return setOf(merged(items.map(networkOrAddress)));
  },
  "net.cidr_contains_matches": (operands, context) => {
    const found: Term[] = [];
    const wholes = indexed(operands[0] as Term);
    // nobody looks at what is compared with nothing
    const parts = wholes.length === 0 ? [] : indexed(operands[1] as Term);
    if (parts.length === 0) return setOf([]);
    context.charge((wholes.length + parts.length) * 64 + wholes.length * parts.length * 8);
    const networks = wholes.map(({ cidr, index }) => ({ network: networkIn(cidr), index }));
    const within = parts.map(({ cidr, index }) => ({ network: networkOrOne(cidr), index }));
    for (const whole of networks) {
      for (const part of within) {
        if (!contains(whole.network, part.network)) continue;
        context.charge(64);
        found.push([whole.index, part.index]);
      }
    }
    return setOf(found);
  },
};

function networkOrAddress(term: Term): Network {
  if (typeof term !== "string") return unfit();
  const address = parseAddress(term);
  if (address === null) return parseNetwork(term) ?? unfit();
  // without a prefix it has that of its class, as it was before 1993
  if (address.bits !== 32) return unfit();
  const top = Number(address.value >> 24n);
  const prefix = top < 128 ? 8 : top < 192 ? 16 : 24;
  return { ...address, prefix, first: address.value };
}

type Indexed = { readonly cidr: Term; readonly index: Term };

/** One text, or many by their place, by themselves, or by their key; in an array, its first item. */
function indexed(term: Term): readonly Indexed[] {
  if (typeof term === "string") return [{ cidr: term, index: term }];
  if (isArray(term)) return term.map((item, at) => ({ cidr: textIn(item), index: num(at) }));
  if (isSet(term)) return term.set.map((item) => ({ cidr: textIn(item), index: item }));
  return isObject(term) ? term.entries.map(([key, value]) => ({ cidr: textIn(value), index: key })) : [];
}

function textIn(term: Term): Term {
  if (typeof term === "string") return term;
  return isArray(term) && term.length > 0 ? (term[0] as Term) : unfit();
}

function networkIn(term: Term): Network {
  return (typeof term === "string" ? parseNetwork(term) : null) ?? unfit();
}

/** An address is the network of itself. */
function networkOrOne(term: Term): Network {
  const address = typeof term === "string" ? parseAddress(term) : null;
  return address === null ? networkIn(term) : { ...address, prefix: address.bits, first: address.value };
}
