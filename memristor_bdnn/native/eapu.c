/* The passes of an EaPU step over weights in cells; the reference is learners/eapu/rule.py, and for Adam test/test_native.py.
 *
 * A block of cells is gone through in stretches that stay in the first cache: the optimiser's step of each cell, one random
 * byte for each, the few that are chosen. Parameters keep what their cells hold, so that no step is ever written to them.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels.h"

#define STRETCH 512

#define GAMMA 0x9E3779B97F4A7C15u

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): the mixing of SplitMix64. */
static inline uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/* A word whose lowest byte comes first in memory, on any machine. */
static inline uint64_t little(uint64_t word) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  return __builtin_bswap64(word);
#else
  return word;
#endif
}

static inline uint64_t eight(const uint8_t *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return little(word);
}

/* One step's numbers of a parameter, in the precision of its weights. */
typedef struct {
  float first, second, square, size, root, eps, decay, shrink;
} Adam;

static Adam adam_of(const Segment *s) {
  const double t = *s->steps += 1.0f;
  return (Adam){
      .first = (float)(1 - s->beta1),
      .second = (float)s->beta2,
      .square = (float)(1 - s->beta2),
      .size = (float)(s->lr / (1 - pow(s->beta1, t))),
      .root = (float)(1 / sqrt(1 - pow(s->beta2, t))),
      .eps = (float)s->eps,
      .decay = s->decoupled ? 0.0f : (float)s->decay,
      .shrink = s->decoupled ? (float)(1 - s->lr * s->decay) : 1.0f,
  };
}

/* Moments of one weight, and the weight that its step leads to. */
static inline float stepped(const Adam *a, float p, float g, float *m, float *v) {
  const float gradient = g + a->decay * p;
  const float mean = *m + (gradient - *m) * a->first;
  const float power = *v * a->second + gradient * gradient * a->square;
  *m = mean;
  *v = power;
  return p * a->shrink - a->size * mean / (sqrtf(power) * a->root + a->eps);
}

FOR_MANY_PROCESSORS
static void adam_all(float *restrict p, const float *restrict g, float *restrict m, float *restrict v, Adam a, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) p[i] = stepped(&a, p[i], g[i], m + i, v + i);
}

void adam_plain(const Segment *s) { adam_all(s->p, s->g, s->m, s->v, adam_of(s), s->n); }

/* Of a stretch, how far each step leads from what the cell holds; returns whether all are finite. moved: whether any weight
 * is not what its cell holds. */
FOR_MANY_PROCESSORS
static int adam_stretch(const float *restrict p, const float *restrict g, float *restrict m, float *restrict v,
                        const float *restrict held, Adam a, float *restrict delta, int n, int *moved) {
  int wrong = 0, other = 0;
  for (int i = 0; i < n; i++) {
    float step = stepped(&a, p[i], g[i], m + i, v + i) - held[i];
    delta[i] = step;
    wrong |= !(fabsf(step) <= FLT_MAX);
    other |= p[i] != held[i];
  }
  *moved = other;
  return !wrong;
}

/* The same of weights that somebody else has moved. */
FOR_MANY_PROCESSORS
static int moved_stretch(const float *restrict p, const float *restrict held, float *restrict delta, int n) {
  int wrong = 0;
  for (int i = 0; i < n; i++) {
    float step = p[i] - held[i];
    delta[i] = step;
    wrong |= !(fabsf(step) <= FLT_MAX);
  }
  return !wrong;
}

/* Of STRETCH cells, from a multiple of 8 on: a byte each, 256 |delta| / T as far as it is whole, and whether to look closer. */
FOR_MANY_PROCESSORS
static void drawn(const float *restrict delta, float scale, uint64_t key, uint64_t word, uint8_t *restrict share,
                  uint8_t *restrict bytes, uint8_t *restrict flags) {
  uint64_t words[STRETCH / 8];
  for (int w = 0; w < STRETCH / 8; w++) {
    uint64_t z = key + (word + (uint64_t)w + 1) * GAMMA;
    words[w] = little(mixed(z));
  }
  memcpy(bytes, words, STRETCH);
  for (int i = 0; i < STRETCH; i++) {
    float scaled = fabsf(delta[i]) * scale;
    share[i] = (uint8_t)(int32_t)(scaled < 255.0f ? scaled : 255.0f);
  }
  for (int i = 0; i < STRETCH; i++) flags[i] = bytes[i] <= share[i];
}

/* A stretch of cells and what has been chosen so far. */
typedef struct {
  float delta[STRETCH];
  ptrdiff_t begin; /* the first one's number, a multiple of 8 */
  int filled;
  float threshold;
  uint64_t key;
  int64_t *index;
  float *change;
  ptrdiff_t count;
} Choice;

static void begin_choice(Choice *c, ptrdiff_t first, float threshold, uint64_t key, int64_t *index, float *change) {
  c->begin = first / 8 * 8;
  c->filled = (int)(first % 8);
  for (int i = 0; i < c->filled; i++) c->delta[i] = 0.0f; /* no step: never chosen */
  c->threshold = threshold, c->key = key, c->index = index, c->change = change, c->count = 0;
}

/* The number of the lowest byte that is 1, of eight that are 0 or 1 and not all 0. */
static inline int first_set(uint64_t flags) {
#if defined(__GNUC__)
  return __builtin_ctzll(flags) / 8;
#else
  int i = 0;
  while (!(flags >> (8 * i) & 1)) i++;
  return i;
#endif
}

/* Append the chosen of the stretch and begin the next. Few are, and where cannot be foreseen: hardly a branch hangs on it. */
static void choose_stretch(Choice *c) {
  uint8_t share[STRETCH], bytes[STRETCH], flags[STRETCH];
  uint16_t eights[STRETCH / 8 + 1];
  const float scale = 256.0f / c->threshold;
  int found = 0;
  ptrdiff_t count = c->count;
  for (int i = c->filled; i < STRETCH; i++) c->delta[i] = 0.0f;
  drawn(c->delta, scale, c->key, (uint64_t)c->begin / 8, share, bytes, flags);
  memset(flags + c->filled, 0, (size_t)(STRETCH - c->filled));
  for (int w = 0; w < STRETCH; w += 8) {
    eights[found] = (uint16_t)w;
    found += eight(flags + w) != 0;
  }
  for (int k = 0; k < found; k++) {
    uint64_t left = eight(flags + eights[k]);
    do { /* mostly one */
      const int i = eights[k] + first_set(left);
      const float delta = c->delta[i], size = fabsf(delta);
      /* 24 further bits, where the byte does not decide */
      const uint64_t z = mixed(~c->key + ((uint64_t)(c->begin + i) + 1) * GAMMA);
      const int less = (float)(z >> 40) * 0x1p-24f < size * scale - (float)share[i];
      c->index[count] = c->begin + i;
      c->change[count] = size >= c->threshold ? delta : copysignf(c->threshold, delta);
      count += (bytes[i] < share[i]) | (size >= c->threshold) | less;
      left &= left - 1;
    } while (left);
  }
  c->count = count, c->begin += STRETCH, c->filled = 0;
}

ptrdiff_t choose(const float *delta, ptrdiff_t n, float threshold, uint64_t key, ptrdiff_t first, int64_t *index, float *change) {
  Choice c;
  begin_choice(&c, first, threshold, key, index, change);
  for (ptrdiff_t done = 0; done < n;) {
    int here = n - done < STRETCH - c.filled ? (int)(n - done) : STRETCH - c.filled;
    memcpy(c.delta + c.filled, delta + done, sizeof(float) * (size_t)here);
    c.filled += here, done += here;
    choose_stretch(&c);
  }
  return c.count;
}

ptrdiff_t step_cells(const Segment *segments, ptrdiff_t n_segments, float threshold, uint64_t key, int64_t *index, float *change) {
  Choice c;
  int finite = 1;
  begin_choice(&c, 0, threshold, key, index, change);
  for (const Segment *s = segments; s < segments + n_segments; s++) {
    const Adam adam = s->g ? adam_of(s) : (Adam){0};
    for (ptrdiff_t done = 0; done < s->n;) {
      const int here = s->n - done < STRETCH - c.filled ? (int)(s->n - done) : STRETCH - c.filled;
      float *p = s->p + done, *delta = c.delta + c.filled;
      const float *held = s->held + done;
      int moved = 1;
      if (s->g)
        finite &= adam_stretch(p, s->g + done, s->m + done, s->v + done, held, adam, delta, here, &moved);
      else
        finite &= moved_stretch(p, held, delta, here);
      if (moved) memcpy(p, held, sizeof(float) * (size_t)here);
      c.filled += here, done += here;
      if (c.filled < STRETCH) continue;
      if (finite) choose_stretch(&c);
      else c.filled = 0; /* the rest gets back what its cells hold, and nothing is chosen */
    }
  }
  if (finite && c.filled) choose_stretch(&c);
  return finite ? c.count : -1;
}

FOR_MANY_PROCESSORS
static int all_finite(const float *values, ptrdiff_t n) {
  int wrong = 0;
  for (ptrdiff_t i = 0; i < n; i++) wrong |= !(fabsf(values[i]) <= FLT_MAX);
  return !wrong;
}

int gradients_finite(const Segment *segments, ptrdiff_t n_segments) {
  for (const Segment *s = segments; s < segments + n_segments; s++)
    if (s->g && !all_finite(s->g, s->n)) return 0;
  return 1;
}

void write_cells(const Segment *segments, ptrdiff_t n_segments, const int64_t *index, const float *change, const float *noise,
                 ptrdiff_t k, Writing w) {
  ptrdiff_t first = 0, j = 0;
  for (const Segment *s = segments; s < segments + n_segments; first += s->n, s++)
    for (; j < k && index[j] < first + s->n; j++) {
      const ptrdiff_t i = index[j] - first;
      const float target = s->held[i] / w.r_wg + w.g_zero + change[j] / w.r_wg;
      float landed = target + w.sd * noise[j];
      if (w.loss != 0) landed -= w.loss;
      s->p[i] = s->held[i] = (landed - w.g_zero) * w.r_wg;
    }
}
