// One sound at a time; the button that plays one stops it too.

/** @type {Map<HTMLButtonElement, HTMLAudioElement>} */
const sounds = new Map();
for (const button of document.querySelectorAll("button.play")) {
  const sound = button.querySelector("audio");
  if (sound) sounds.set(/** @type {HTMLButtonElement} */ (button), sound);
}
for (const [button, sound] of sounds) {
  button.addEventListener("click", () => {
    const isWanted = sound.paused;
    for (const each of sounds.values()) {
      each.pause();
      each.currentTime = 0;
    }
    if (isWanted) sound.play().catch(() => {});
  });
  const show = () => button.setAttribute("aria-pressed", String(!sound.paused && !sound.ended));
  for (const name of ["play", "pause", "ended"]) sound.addEventListener(name, show);
}
