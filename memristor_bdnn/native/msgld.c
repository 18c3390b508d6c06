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

#ifdef __SIZEOF_INT128__
typedef unsigned __int128 Wide;

/* O'Neill, "PCG: a family of simple fast space-efficient statistically good algorithms" (2014): XSL RR 128/64. */
static inline uint64_t pcg_output(Wide state) {
  const uint64_t folded = (uint64_t)(state >> 64) ^ (uint64_t)state;
  const unsigned turn = (unsigned)(state >> 122);
  return folded >> turn | folded << (-turn & 63);
}

/* Every fourth word from each of four states, so that no product waits for the one before. */
FOR_MANY_PROCESSORS
void pcg64(uint64_t *given, uint64_t *out, ptrdiff_t n) {
  const Wide by = (Wide)0x2360ED051FC65DA4u << 64 | 0x4385DF649FCCF645u;
  const Wide step = (Wide)given[3] << 64 | given[2], by4 = by * by * by * by, step4 = step * (by * by * by + by * by + by + 1);
  Wide last = (Wide)given[1] << 64 | given[0], s[4];
  for (; n % 4; n--) *out++ = pcg_output(last = last * by + step);
  for (int k = 0; k < 4; k++) s[k] = last = last * by + step;
  for (ptrdiff_t i = 0; i < n; i += 4)
    for (int k = 0; k < 4; k++) {
      if (k == 3) last = s[3];
      out[i + k] = pcg_output(s[k]);
      s[k] = s[k] * by4 + step4;
    }
  given[0] = (uint64_t)last, given[1] = (uint64_t)(last >> 64);
}
#endif

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

/* The largest word that at least count words are not below, bit by bit until it is known which ones they are. */
static uint32_t threshold(const uint32_t *words, ptrdiff_t n, ptrdiff_t count) {
  uint32_t least = 0;
  for (uint32_t bit = 1u << 30; bit; bit >>= 1) {
    const ptrdiff_t found = not_below(words, (int32_t)n, least | bit);
    if (found >= count) least |= bit;
    if (found == count) break; /* a lower threshold than theirs, the same words */
  }
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
