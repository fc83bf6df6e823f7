/** Which Portcullis is this? package.json says it, and nobody says it again. */
import manifest from "../package.json" with { type: "json" };

/** As released, e.g. `0.1.0`. */
export const VERSION: string = manifest.version;

/** How the gateway names itself, to servers and to callers. */
export const PRODUCT = { name: "portcullis", version: VERSION } as const;
