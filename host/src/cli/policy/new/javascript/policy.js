// Refuses programs that are not for agents. What it has nothing against is for other policies to allow: it abstains.

import * as portcullis from "./portcullis.js";

let programs;

/** Once, at load. Do here what is costly: every decision starts from the memory that this leaves. */
export const settings = portcullis.settings((given, wrong) => {
  programs = new Set(given.programs);
  for (const name of programs) if (name === "" || name.includes("/")) wrong("programs", `"${name}" is no name of a program`);
});

export const command = {
  /** For each command, in a fresh instance. What it throws denies. */
  evaluate(request) {
    const name = portcullis.invocations(request).flatMap(portcullis.names).find((name) => programs.has(name));
    if (name === undefined) return portcullis.abstain;
    return portcullis.deny("forbidden", `\`${name}\` is not for agents; ask a person to run it.`);
  },
};
