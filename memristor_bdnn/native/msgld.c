/* What mSGLD does at every step beside its matrix products: reads, weights, marks. References: device/noise.py,
 * network/bayesian.py, learners/msgld/update.py; every digit is theirs.
 */
#include <math.h>
#include <string.h>

#include "kernels.h"

static inline float float_of(uint32_t word) {
  float value;
  memcpy(&value, &word, sizeof value);
  return value;
}

static inline uint32_t word_of(float value) {
  uint32_t word;
  memcpy(&word, &value, sizeof word);
  return word;
}

FOR_MANY_PROCESSORS
void read_uniforms(const uint32_t *restrict bits, float *restrict out, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) out[i] = 2.0f - float_of((bits[i] & 0x007FFFFFu) | 0x3F800000u);
}

FOR_MANY_PROCESSORS
void read_values(const uint32_t *restrict bits, float *restrict values, const float *restrict scale,
                 const float *restrict state, float floor, ptrdiff_t rows, ptrdiff_t cells) {
  for (ptrdiff_t row = 0; row < rows; row++, bits += cells, values += cells)
    for (ptrdiff_t i = 0; i < cells; i++) {
      const float noise = float_of(word_of(values[i]) ^ (bits[i] & 0x80000000u));
      const float read = noise * scale[i] + state[i];
      values[i] = read < floor ? floor : read;
    }
}

FOR_MANY_PROCESSORS
static void weights_of_three(const float *restrict currents, float *restrict weights, ptrdiff_t n, float offset, float scale) {
  for (ptrdiff_t i = 0; i < n; i++)
    weights[i] = (currents[3 * i] + currents[3 * i + 1] + currents[3 * i + 2] - offset) / scale;
}

void weights_of(const float *currents, float *weights, ptrdiff_t n, ptrdiff_t devices, float offset, float scale) {
  if (devices == 3) { /* as published */
    weights_of_three(currents, weights, n, offset, scale);
    return;
  }
  for (ptrdiff_t i = 0; i < n; i++, currents += devices) {
    float total = currents[0];
    for (ptrdiff_t d = 1; d < devices; d++) total += currents[d];
    weights[i] = (total - offset) / scale;
  }
}

FOR_MANY_PROCESSORS
void to_sigmoids(float *above, ptrdiff_t s, ptrdiff_t rows, ptrdiff_t n) {
  const ptrdiff_t units = (rows - 1) * n;
  for (ptrdiff_t k = 0; k < s; k++, above += rows * n)
    for (ptrdiff_t i = 0; i < units; i++) above[i] = above[i] * 0.5f + 0.5f;
}

FOR_MANY_PROCESSORS
void times_slopes(float *restrict delta, const float *restrict above, ptrdiff_t s, ptrdiff_t rows, ptrdiff_t n) {
  const ptrdiff_t units = (rows - 1) * n;
  for (ptrdiff_t k = 0; k < s; k++, above += rows * n, delta += units)
    for (ptrdiff_t i = 0; i < units; i++) delta[i] = delta[i] * above[i] * (1.0f - above[i]);
}

/* Mean over the evaluations, running averages, and by what gradients are divided: the centred RMS. */
FOR_MANY_PROCESSORS
static void averaged(const Vote *vote, float *restrict rms) {
  const ptrdiff_t n = vote->n;
  const float evaluations = (float)vote->evaluations;
  float *restrict mean = vote->mean, *restrict square = vote->square, *restrict average = vote->average;
  for (ptrdiff_t i = 0; i < n; i++) average[i] = vote->gradient[i];
  for (ptrdiff_t i = 0; i < n; i++) rms[i] = vote->gradient[i] * vote->gradient[i];
  for (ptrdiff_t e = 1; e < vote->evaluations; e++) {
    const float *restrict g = vote->gradient + e * n;
    for (ptrdiff_t i = 0; i < n; i++) {
      average[i] += g[i];
      rms[i] += g[i] * g[i];
    }
  }
  const float keep = vote->keep, take = vote->take, correction = vote->correction;
  for (ptrdiff_t i = 0; i < n; i++) {
    average[i] /= evaluations;
    mean[i] = keep * mean[i] + take * average[i];
    square[i] = keep * square[i] + take * (rms[i] / evaluations);
    const float centre = mean[i] / correction;
    const float variance = square[i] / correction - centre * centre;
    rms[i] = sqrtf(variance < 0.0f ? 0.0f : variance) + 1e-8f;
  }
}

/* Sizes of numbers as words, whose order is that of the numbers; NaN comes last. */
FOR_MANY_PROCESSORS
static void sizes_of(const float *restrict g, const float *restrict rms, uint32_t *restrict words, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) words[i] = word_of(g[i] / rms[i]) & 0x7FFFFFFFu;
}

FOR_MANY_PROCESSORS
static int32_t not_below(const uint32_t *restrict words, int32_t n, uint32_t least) {
  int32_t count = 0;
  for (int32_t i = 0; i < n; i++) count += (int32_t)words[i] >= (int32_t)least;
  return count;
}

FOR_MANY_PROCESSORS
static void voted(const uint32_t *restrict words, ptrdiff_t n, uint32_t least, uint32_t *restrict votes) {
  for (ptrdiff_t i = 0; i < n; i++) votes[i] += (words[i] >= least) & (words[i] <= 0x7F800000u);
}

/* The largest word that at least count words are not below, bit by bit. */
static uint32_t threshold(const uint32_t *words, ptrdiff_t n, ptrdiff_t count) {
  uint32_t least = 0;
  for (uint32_t bit = 1u << 30; bit; bit >>= 1)
    if (not_below(words, (int32_t)n, least | bit) >= count) least |= bit;
  return least;
}

void marks(const Vote *vote, uint32_t *work, uint8_t *marked) {
  const ptrdiff_t n = vote->n;
  uint32_t *words = work, *votes = work + n;
  float *rms = (float *)(work + 2 * n);
  averaged(vote, rms);
  memset(votes, 0, sizeof *votes * (size_t)n);
  for (ptrdiff_t e = 0; e < vote->evaluations && vote->count; e++) {
    sizes_of(vote->gradient + e * n, rms, words, n);
    const uint32_t least = threshold(words, n, vote->count);
    if (least <= 0x7F800000u) voted(words, n, least, votes);
  }
  for (ptrdiff_t i = 0; i < n; i++) marked[i] = vote->count && votes[i] >= (uint32_t)vote->needed;
}
