#!/usr/bin/env bash
# Study a folder of speakers, such as VCTK's wav48: four effects, 2,000 pairs each, split by
# speaker. Writes the six figures of an MSci student's weekly report (week 6, 2023).
#
#   study.sh RECORDINGS [OUTPUT]
#
# A quick trial: PAIRS=20 TRAIN="--steps 10" PRESET=small study.sh RECORDINGS
set -euo pipefail

recordings=${1:?usage: study.sh RECORDINGS [OUTPUT]}
output=${2:-study}
pairs=${PAIRS:-2000}
preset=${PRESET:-default}
read -r -a train <<<"${TRAIN:---minutes 120}"
read -r -a method <<<"${MAP:---method tsne}"
mkdir -p "$output"

two=(--effect overdrive --effect delay)
four=("${two[@]}" --effect reverb --effect phaser)

study() { # study NAME EFFECTS...: write pairs, run and latent map (Figures 1 and 2)
    local name=$1
    shift
    dafxtool render "$recordings" "$@" --preset "$preset" --pairs-per-effect "$pairs" \
        --split-by folder -o "$output/pairs-$name.h5" --resume
    dafxtool spectrogram "$output/pairs-$name.h5" --preset "$preset" \
        -o "$output/spectrograms-$name.h5" --resume
    dafxtool train "$output/spectrograms-$name.h5" --preset "$preset" "${train[@]}" \
        -o "$output/run-$name" --resume
    dafxtool map "$output/pairs-$name.h5" --run "$output/run-$name" "${method[@]}" \
        -o "$output/figure-map-$name.png" --csv "$output/figure-map-$name.csv" --overwrite
}

study two "${two[@]}"
study four "${four[@]}"

# Figures 3 and 4: typical reconstructions of overdrive and of delay, with their errors.
dafxtool reconstruct "$output/pairs-two.h5" --run "$output/run-two" \
    -o "$output/figure-reconstruction.png" --csv "$output/errors.csv" --overwrite

# Figure 5: interpolate between two effects on one recording. Figure 6: between two recordings.
mapfile -t files < <(find "$recordings" -type f \( -name '*.wav' -o -name '*.flac' -o -name '*.ogg' \) | sort)
a=${files[0]}
b=${files[-1]}
dafxtool interpolate "$a" "${two[@]}" --run "$output/run-two" --audio "$output/steps-effects" \
    -o "$output/figure-effects.png" --overwrite
dafxtool interpolate "$a" "$b" --effect overdrive --run "$output/run-two" \
    --audio "$output/steps-recordings" -o "$output/figure-recordings.png" --overwrite
echo "figures in $output"
