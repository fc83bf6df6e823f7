/**
 * What becomes of a document when these changes are made to it? json.patch, which in OPA also reaches into sets and takes
 * paths of any terms. What surprises: `replace` is a removal and an insertion, and a set's path is the element itself. A
 * copy pays for all that it copies, though nothing is: copies of copies would soon be larger than any memory.
 */
import { arrayAt, type Builtins, type Context, int64Of, present, unfit } from "./operand.ts";
import { equal, lookUp, payFor, setOf } from "./order.ts";
import { isArray, isNum, isObject, isSet, type Term, type TermObject } from "./term.ts";

export const patch: Builtins = {
  "json.patch": (operands, context) => {
    let document: Term | undefined = operands[0];
    for (const operation of arrayAt(operands, 1)) {
      document = apply(document, isObject(operation) ? operation : unfit(), context);
    }
    return document;
  },
};

/** Undefined: what was there is gone. */
type Document = Term | undefined;

function apply(document: Document, operation: TermObject, context: Context): Document {
  const at = (name: string): Term => present(lookUp(operation, name));
  const path = pathOf(at("path"));
  const kind = at("op");
  const paid = (term: Term): Term => {
    payFor(term, context.charge);
    return term;
  };
  payForPath(document, path, context);
  if (kind === "add") return inserted(document, path, paid(at("value")));
  if (kind === "remove") return removed(document, path);
  if (kind === "replace") return inserted(removed(document, path), path, paid(at("value")));
  if (kind === "test") return equal(paid(found(document, path)), at("value")) ? document : unfit();
  const from = pathOf(at("from"));
  payForPath(document, from, context);
  if (kind === "copy") return inserted(document, path, paid(found(document, from)));
  return kind === "move" ? inserted(removed(document, from), path, paid(found(document, from))) : unfit();
}

/** Each key is compared with all that are beside it. */
function payForPath(document: Document, path: Path, { charge }: Context): void {
  let here: Document = document;
  for (const key of path) {
    charge(16);
    if (here === undefined || here === null) continue;
    const beside = isObject(here) ? here.entries.map(([other]) => other) : isSet(here) ? here.set : [];
    if (isArray(here)) charge(here.length >> 2);
    charge(beside.length);
    if (typeof key !== "string") for (const other of beside) payFor(other, charge);
    else charge(beside.length * (key.length >> 4));
    here = childIn(here, key);
  }
}

function childIn(parent: Term, key: Term): Document {
  if (isObject(parent)) return lookUp(parent, key);
  if (isSet(parent)) return parent.set.find((item) => equal(item, key));
  if (!isArray(parent)) return undefined;
  const index = indexIn(parent, key);
  return index === null ? undefined : parent[index];
}

type Path = readonly Term[];

function pathOf(term: Term): Path {
  if (isArray(term)) return term;
  if (typeof term !== "string") return unfit();
  if (term === "") return [];
  return term
    .replace(/^\/+/, "")
    .split("/")
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function found(document: Document, path: Path): Term {
  let here = present(document);
  for (const key of path) here = childOf(here, key);
  return here;
}

function childOf(parent: Term, key: Term): Term {
  return present(childIn(parent, key));
}

/** Of a number or its digits; `-` is behind the last. */
function indexIn(array: readonly Term[], key: Term): number | null {
  if (key === "-") return array.length;
  if (typeof key === "string" && key !== "0" && key.startsWith("0")) return null;
  const index = isNum(key) ? int64Of(key) : typeof key === "string" ? int64Of({ number: key }) : null;
  return index === null || index < 0n || index > BigInt(array.length) ? null : Number(index);
}

function indexOf(array: readonly Term[], key: Term): number {
  return indexIn(array, key) ?? unfit();
}

function inserted(document: Document, path: Path, value: Term): Term {
  return path.length === 0 ? value : changed(document, path, (parent, key) => insertedInto(parent, key, value));
}

function insertedInto(parent: Term, key: Term, value: Term): Term {
  if (isObject(parent)) return { entries: [...without(parent, key), [key, value]] };
  if (isSet(parent)) return equal(key, value) ? setOf([...parent.set, value]) : unfit();
  return isArray(parent) ? parent.toSpliced(indexOf(parent, key), 0, value) : unfit();
}

function removed(document: Document, path: Path): Document {
  if (path.length === 0) return document === undefined ? unfit() : undefined;
  return changed(document, path, (parent, key) => {
    childOf(parent, key);
    if (isObject(parent)) return { entries: without(parent, key) };
    if (isSet(parent)) return { set: parent.set.filter((item) => !equal(item, key)) };
    return isArray(parent) ? parent.toSpliced(indexOf(parent, key), 1) : unfit();
  });
}

function without({ entries }: TermObject, key: Term): TermObject["entries"] {
  return entries.filter(([other]) => !equal(other, key));
}

type Change = (parent: Term, key: Term) => Term;

/** The document with its part at all but the last of the path changed. */
function changed(document: Document, path: Path, change: Change): Term {
  const parent = present(document);
  const [key, ...rest] = path as readonly [Term, ...Term[]];
  if (rest.length === 0) return change(parent, key);
  const child = changed(childOf(parent, key), rest, change);
  if (isObject(parent)) {
    return { entries: parent.entries.map(([other, value]) => [other, equal(other, key) ? child : value] as const) };
  }
  if (isSet(parent)) return setOf([...parent.set.filter((item) => !equal(item, key)), child]);
  return isArray(parent) ? parent.with(indexOf(parent, key), child) : unfit();
}
