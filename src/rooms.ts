/** Opens the rooms that a call passes through, and closes them in the order that loses nothing. */
import { join } from "node:path";
import { createAudit } from "./audit/audit.ts";
import { startExports } from "./audit/export.ts";
import type { Exports, Ship } from "./audit/export.ts";
import type { Config } from "./config.ts";
import type { Gateway } from "./gateway.ts";
import { createIdentity } from "./identity/authenticate.ts";
import { createLimits } from "./limits/limit.ts";
import type { Ports } from "./ports.ts";
import { createValidators } from "./registry/validate.ts";
import type { Keyring } from "./snapshot/keyring.ts";
import { fetchDocument } from "./upstream/document.ts";
import { createUpstreams } from "./upstream/upstreams.ts";

export type Rooms = Pick<Gateway, "identity" | "validators" | "limits" | "upstreams" | "audit"> & {
  readonly exports: Exports;
  readonly close: () => Promise<void>;
};
type Given = {
  readonly config: Config;
  /** Absolute path of the data folder. */
  readonly data: string;
  readonly keyring: Keyring;
  /** To whom the records go as they are; null where this is no sidecar. */
  readonly ship: Ship | null;
  /** PATH of stdio servers. */
  readonly searchPath: string;
  readonly version: string;
};

export async function openRooms(
  { config, data, keyring, ship, searchPath, version }: Given,
  ports: Ports,
): Promise<Rooms> {
  const directory = join(data, "audit");
  const { failures, window } = config.auth.addressLimit;
  const audit = createAudit(
    { directory, flush: config.audit.flush, keyedDigestKey: keyring.digest.key, version },
    ports,
  );
  const exports = await startExports({ directory, targets: config.audit.export, ship, version }, ports);
  const upstreams = createUpstreams({ resultBytesMax: config.maxResult, searchPath }, ports);
  const validators = createValidators({}, ports);
  const limits = await createLimits({ redisUrl: sharedRedis(config) }, ports);
  return {
    audit,
    exports,
    upstreams,
    validators,
    limits,
    identity: createIdentity({ failures, windowMs: window }, { ...ports, fetchDocument }),
    close: async () => {
      // the audit last: whatever still ends writes its record
      await upstreams.close();
      limits.close();
      validators.close();
      await audit.close();
      await exports.close();
    },
  };
}

/** What gateways share that share no more than the limits. */
function sharedRedis({ redis, store }: Config): string | undefined {
  return redis ?? (store === "sqlite" ? undefined : store);
}
