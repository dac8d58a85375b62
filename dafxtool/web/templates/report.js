"use strict";
// One sound at a time; the button that plays one stops it too.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.play");
  if (!button) return;
  const sound = button.querySelector("audio");
  const wanted = sound.paused;
  for (const each of document.querySelectorAll("button.play audio")) {
    each.pause();
    each.currentTime = 0;
  }
  if (wanted) sound.play().catch(() => {});
});
for (const button of document.querySelectorAll("button.play")) {
  const sound = button.querySelector("audio");
  const show = () => button.setAttribute("aria-pressed", String(!sound.paused && !sound.ended));
  for (const name of ["play", "pause", "ended"]) sound.addEventListener(name, show);
}
