/** On what terms is something changed? */
import { z } from "zod";

/** `expect`: a revision as `list` gives it. */
export const terms = {
  expect: z.int().min(0).nullable().default(null),
  dryRun: z.boolean().default(false),
};
