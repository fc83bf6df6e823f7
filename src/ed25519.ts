/**
 * Ed25519 keys as this product holds them: a seed of 32 bytes that signs, and a line of text that an operator pins. What
 * surprises: a key signs for one purpose only, so whoever uses it says what its signatures mean in the bytes themselves.
 */
import { createPrivateKey, createPublicKey } from "node:crypto";
import type { KeyObject } from "node:crypto";

/** `key` is the seed. */
export type SigningKey = { readonly id: string; readonly key: Buffer };

export const PIN = /^ed25519:[0-9a-z]{1,32}:[A-Za-z0-9_-]{43}$/;

/** `ed25519:<key id>:<public key, base64url>`: what an operator pins. */
export function pinOf({ id, key }: SigningKey): string {
  const { x = "" } = createPublicKey(privateKey(key)).export({ format: "jwk" });
  return `ed25519:${id}:${x}`;
}

/** RFC 8410: what stands before the 32 bytes of a seed. */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

export function privateKey(seed: Buffer): KeyObject {
  let key = keys.get(seed);
  if (key === undefined) {
    key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: "der", type: "pkcs8" });
    keys.set(seed, key);
  }
  return key;
}

const keys = new WeakMap<Buffer, KeyObject>();

export function publicKey(pin: string): KeyObject {
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: pin.split(":")[2] ?? "" }, format: "jwk" });
}

/** The 32 bytes themselves. */
export function publicBytes(pin: string): Buffer {
  return Buffer.from(pin.split(":")[2] ?? "", "base64url");
}
