/** crypto.* of digests, and io.jwt.decode, which verifies nothing. */
import { createHash, createHmac } from "node:crypto";
import { type Builtin, type Builtins, stringAt, unfit } from "./operand.ts";
import { lookUp } from "./order.ts";
import { bytesOf, isObject, type Term, type TermObject, textOf } from "./term.ts";
import { parseJson } from "./json.ts";

export const digests: Builtins = {
  "crypto.md5": digest("md5"),
  "crypto.sha1": digest("sha1"),
  "crypto.sha256": digest("sha256"),
  "crypto.hmac.md5": hmac("md5"),
  "crypto.hmac.sha1": hmac("sha1"),
  "crypto.hmac.sha256": hmac("sha256"),
  "crypto.hmac.sha512": hmac("sha512"),
  // the digests of both: how long it takes says nothing about where they differ
  "crypto.hmac.equal": (operands, { charge }) => {
    charge(STEPS_PER_KEY / 4);
    return keyless(stringAt(operands, 0)).equals(keyless(stringAt(operands, 1)));
  },
  "io.jwt.decode": (operands) => decodeToken(stringAt(operands, 0), NESTED_MAX),
};

/** What is made ready for a key takes longer than a short message. */
const STEPS_PER_KEY = 256;

function digest(algorithm: string): Builtin {
  return (operands) =>
    createHash(algorithm)
      .update(bytesOf(stringAt(operands, 0)))
      .digest("hex");
}

function hmac(algorithm: string): Builtin {
  return (operands, { charge }) => {
    charge(STEPS_PER_KEY);
    const message = bytesOf(stringAt(operands, 0));
    return createHmac(algorithm, bytesOf(stringAt(operands, 1)))
      .update(message)
      .digest("hex");
  };
}

function keyless(text: string): Buffer {
  return createHash("sha256").update(bytesOf(text)).digest();
}

/** A token in a token in a token. */
const NESTED_MAX = 16;

function decodeToken(token: string, nested: number): Term {
  const parts = token.split(".");
  const [header = "", payload = "", signature = ""] = parts;
  if (parts.length !== 3 || nested === 0) return unfit();
  const head = objectIn(fromBase64Url(header));
  if (lookUp(head, "enc") !== undefined) return unfit();
  const content = fromBase64Url(payload);
  if (lookUp(head, "cty") === "JWT") return decodeToken(unquoted(content), nested - 1);
  const claims = objectIn(content);
  return [head, claims, Buffer.from(bytesOf(fromBase64Url(signature))).toString("hex")];
}

/** From both ends, in one pass: a pattern would begin anew at each quote of a text. */
function unquoted(text: string): string {
  let [from, to] = [0, text.length];
  while (from < to && /["']/.test(text[from] as string)) from++;
  while (to > from && /["']/.test(text[to - 1] as string)) to--;
  return text.slice(from, to);
}

function objectIn(text: string): TermObject {
  const value = parseJson(text);
  return isObject(value) ? value : unfit();
}

/** With or without padding; Go overlooks line ends. */
function fromBase64Url(text: string): string {
  const padded = text.endsWith("=") ? text : text + ["", "?", "==", "="][text.length % 4];
  const bare = padded.replaceAll(/[\r\n]/g, "");
  const isWhole = /^(?:[\w-]{4})*(?:[\w-]{2}==|[\w-]{3}=)?$/.test(bare);
  return isWhole ? textOf(Buffer.from(bare, "base64url")) : unfit();
}
