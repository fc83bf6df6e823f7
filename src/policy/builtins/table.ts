/** Which built-ins does the engine add to those that OPA compiles into a policy's module? All of them, by name; pure, and the same everywhere. */
import { digests } from "./digests.ts";
import { encode } from "./encode.ts";
import { net } from "./net.ts";
import { numbers } from "./numbers.ts";
import type { Builtins } from "./operand.ts";
import { patch } from "./patch.ts";
import { regex } from "./regex.ts";
import { semver } from "./semver.ts";
import { sprintf } from "./sprintf.ts";
import { strings } from "./strings.ts";
import { subset } from "./subset.ts";
import { time } from "./time.ts";
import { uuid } from "./uuid.ts";

export const HOST_BUILTINS: Builtins = {
  ...digests,
  ...encode,
  ...net,
  ...numbers,
  ...patch,
  ...regex,
  ...semver,
  ...sprintf,
  ...strings,
  ...subset,
  ...time,
  ...uuid,
};
