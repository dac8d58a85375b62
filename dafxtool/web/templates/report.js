// Play the clips of a report, one at a time; the button that plays one also stops it.

/** @type {Map<HTMLButtonElement, HTMLAudioElement>} */
const clips = new Map();
for (const button of document.querySelectorAll("button.play")) {
  const clip = button.querySelector("audio");
  if (clip) clips.set(/** @type {HTMLButtonElement} */ (button), clip);
}
for (const [button, clip] of clips) {
  button.addEventListener("click", () => {
    const isStart = clip.paused;
    for (const each of clips.values()) {
      each.pause();
      each.currentTime = 0;
    }
    if (isStart) clip.play().catch(() => {});
  });
  const show = () => button.setAttribute("aria-pressed", String(!clip.paused && !clip.ended));
  for (const name of ["play", "pause", "ended"]) clip.addEventListener(name, show);
}
