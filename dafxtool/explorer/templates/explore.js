// Start the page: claim a session, ask for the opening, and show it.

import { byId } from "./dom.js";
import { Explorer } from "./explorer.js";
import { Server } from "./messages.js";
import { claimSession } from "./session.js";

const { key, state } = await claimSession();
const server = new Server(key);
const opened = await server.ask("opening");
if (opened) {
  const opening = /** @type {import("./explorer.js").Opening} */ (opened.content);
  byId("run-name").textContent = opening.run ? opening.run.name : "without a model";
  const explorer = new Explorer(server, opening);
  // Accessible to tests and in the browser's console.
  Object.assign(document.body, { explorer });
  if (state) await explorer.restore(state);
  else await explorer.openScene(opening.first);
  document.body.classList.add("ready");
  await explorer.points.load();
}
