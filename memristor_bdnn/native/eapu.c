/* The passes of an EaPU step over weights in cells; the reference is learners/eapu/rule.py, for Adam test/test_eapu_passes.py.
 *
 * Cells are gone through in stretches that stay in the first cache: one random byte for each, its moments, and whether the byte
 * allows that it is chosen. What its step is follows from the moments, and is worked out only of the few that this leaves.
 * Parameters keep what their cells hold, so that no step is ever written to them.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels.h"

#define STRETCH 512
#define MOST (STRETCH + 144) /* cells that wait for their decision; no power of 2, which would share lines of the first cache */
#define AHEAD 832            /* numbers between a stretch's and those called into the second cache: where the next page begins */
#define SOON 24              /* cells between one that is written and one that is called */

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define AVX2 1
#else
#define AVX2 0
#endif

#if defined(__GNUC__)
#define CALL_TO_SECOND(address) __builtin_prefetch(address, 0, 2)
#define CALL_TO_WRITE(address) __builtin_prefetch(address, 1)
#else
#define CALL_TO_SECOND(address) (void)(address)
#define CALL_TO_WRITE(address) (void)(address)
#endif

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

static inline void new_moments(const Adam *a, float p, float g, float *m, float *v) {
  const float gradient = g + a->decay * p;
  *m = *m + (gradient - *m) * a->first;
  *v = *v * a->second + gradient * gradient * a->square;
}

/* The weight that a step leads to. */
static inline float stepped(const Adam *a, float p, float mean, float power) {
  return p * a->shrink - a->size * mean / (sqrtf(power) * a->root + a->eps);
}

FOR_MANY_PROCESSORS
static void adam_all(float *restrict p, const float *restrict g, float *restrict m, float *restrict v, Adam a, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) {
    new_moments(&a, p[i], g[i], m + i, v + i);
    p[i] = stepped(&a, p[i], m[i], v[i]);
  }
}

void adam_plain(const Segment *s) { adam_all(s->p, s->g, s->m, s->v, adam_of(s), s->n); }

/* STRETCH random bytes of cells that begin at a multiple of 8. */
FOR_MANY_PROCESSORS
static void draw(uint64_t key, uint64_t word, uint8_t *restrict bytes) {
  uint64_t words[STRETCH / 8];
  for (int w = 0; w < STRETCH / 8; w++) words[w] = little(mixed(key + (word + (uint64_t)w + 1) * GAMMA));
  memcpy(bytes, words, STRETCH);
}

/* What a step is compared with: the threshold's 256th part, less what roundings take. */
typedef struct {
  float unit;  /* of any step */
  float quick; /* the same as what quick_stretch wants; 0: not for these steps */
} Limits;

static Limits limits_of(float threshold, Adam a) {
  const float unit = fminf(threshold, 1e12f) * (0x1p-8f * (1 - 1e-5f));
  const float slack = 6e-5f / threshold; /* more than is lost in subtracting from a weight below 2 */
  int applies = a.decay == 0 && a.shrink == 1 && slack < 0.5f;
#if AVX2
  applies = applies && __builtin_cpu_supports("avx2");
#else
  applies = 0;
#endif
  return (Limits){unit, applies ? fminf(unit * (1 - slack) * a.root / fabsf(a.size), 1e15f) : 0.0f};
}

#if AVX2
/* The moments of a stretch, and which of its cells may be chosen: those whose byte is not surely above 256 |step| / T. Where
 * weights are what their cells hold, below 2, and do not decay, a step size mean / (sqrt(power) root + eps) is below byte unit
 * if (byte unit root / size)^2 power is above mean^2, which needs neither root nor quotient; limit is unit root / size. What is
 * no number, or lost among the smallest, may be chosen. Returns whether weights are so; flags: a bit for each cell. */
__attribute__((target("avx2"))) static int quick_stretch(const float *p, const float *g, float *m, float *v, const float *held,
                                                         const uint8_t *bytes, Adam a, float limit, uint8_t *flags) {
  const __m256 first = _mm256_set1_ps(a.first), second = _mm256_set1_ps(a.second), square = _mm256_set1_ps(a.square);
  const __m256 limits = _mm256_set1_ps(limit), least = _mm256_set1_ps(FLT_MIN), two = _mm256_set1_ps(2.0f);
  __m256 moved = _mm256_setzero_ps(), weights = moved;
  for (int i = 0; i < STRETCH; i += 8) {
    if (i % 16 == 0) {
      CALL_TO_SECOND(p + i + AHEAD), CALL_TO_SECOND(g + i + AHEAD), CALL_TO_SECOND(held + i + AHEAD);
      CALL_TO_SECOND(m + i + AHEAD), CALL_TO_SECOND(v + i + AHEAD);
    }
    const __m256 weight = _mm256_loadu_ps(p + i), gradient = _mm256_loadu_ps(g + i);
    const __m256 mean_before = _mm256_loadu_ps(m + i), power_before = _mm256_loadu_ps(v + i);
    const __m256 change = _mm256_mul_ps(_mm256_sub_ps(gradient, mean_before), first);
    const __m256 added = _mm256_mul_ps(_mm256_mul_ps(gradient, gradient), square);
    const __m256 mean = _mm256_add_ps(mean_before, change);
    const __m256 power = _mm256_add_ps(_mm256_mul_ps(power_before, second), added);
    const __m256i byte = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(bytes + i)));
    const __m256 ratio = _mm256_mul_ps(_mm256_cvtepi32_ps(byte), limits);
    const __m256 above = _mm256_mul_ps(_mm256_mul_ps(ratio, ratio), power);
    const __m256 below = _mm256_add_ps(_mm256_mul_ps(mean, mean), least);
    _mm256_storeu_ps(m + i, mean);
    _mm256_storeu_ps(v + i, power);
    moved = _mm256_or_ps(moved, _mm256_xor_ps(weight, _mm256_loadu_ps(held + i)));
    weights = _mm256_or_ps(weights, weight);
    flags[i / 8] = (uint8_t)_mm256_movemask_ps(_mm256_cmp_ps(above, below, _CMP_NGT_UQ));
  }
  /* 2 is the exponent's highest bit, which no smaller number has */
  const __m256 other = _mm256_or_ps(moved, _mm256_and_ps(weights, two));
  return _mm256_testz_si256(_mm256_castps_si256(other), _mm256_castps_si256(other));
}
#endif

/* The moments of any part of a stretch. */
FOR_MANY_PROCESSORS
static void new_stretch(const float *restrict p, const float *restrict g, float *restrict m, float *restrict v, Adam a, int n) {
  for (int i = 0; i < n; i++) new_moments(&a, p[i], g[i], m + i, v + i);
}

/* Which cells may be chosen of any part of a stretch, whose moments are new: each a flag of 0 or 1. Returns whether any weight
 * is not what its cell holds. */
FOR_MANY_PROCESSORS
static int adam_flags(const float *restrict p, const float *restrict m, const float *restrict v, const float *restrict held,
                      const uint8_t *restrict bytes, Adam a, float unit, uint8_t *restrict flags, int n) {
  int moved = 0;
  for (int i = 0; i < n; i++) {
    const float weight = p[i] * a.shrink;
    const float far = (float)bytes[i] * unit - fabsf(weight - held[i]) - 1e-6f * fabsf(weight);
    const float bound = (far > 0.0f ? far : 0.0f) * a.root, size = a.size * m[i];
    flags[i] = !(bound * bound * v[i] > size * size + FLT_MIN);
    moved |= p[i] != held[i];
  }
  return moved;
}

/* The same of weights that somebody else has moved. */
FOR_MANY_PROCESSORS
static void moved_flags(const float *restrict p, const float *restrict held, const uint8_t *restrict bytes, float unit,
                        uint8_t *restrict flags, int n) {
  for (int i = 0; i < n; i++) flags[i] = !(fabsf(p[i] - held[i]) < (float)bytes[i] * unit);
}

/* Flags of a stretch, each 0 or 1, as words. */
FOR_MANY_PROCESSORS
static void in_words(const uint8_t *restrict flags, uint64_t *restrict words) {
  uint64_t eights[STRETCH / 8];
  uint8_t bytes[STRETCH / 8];
  memcpy(eights, flags, STRETCH);
  for (int w = 0; w < STRETCH / 8; w++) bytes[w] = (uint8_t)(little(eights[w]) * 0x0102040810204080u >> 56);
  memcpy(words, bytes, sizeof bytes);
  for (int w = 0; w < STRETCH / 64; w++) words[w] = little(words[w]);
}

/* The number of the lowest bit that is 1, of a word that is not 0. */
static inline int first_set(uint64_t word) {
#if defined(__GNUC__)
  return __builtin_ctzll(word);
#else
  int i = 0;
  while (!(word >> i & 1)) i++;
  return i;
#endif
}

static const float nothing[STRETCH];

/* Cells that may be chosen, what their steps follow from, and what was chosen so far. */
typedef struct {
  float p[MOST], held[MOST], mean[MOST], power[MOST], byte[MOST];
  uint64_t number[MOST];
  int waiting;
  float threshold;
  uint64_t key;
  int64_t *index;
  float *change;
  ptrdiff_t count;
  int finite;
} Choice;

/* Let the flagged cells of a piece wait. Few are, and where cannot be foreseen: hardly a branch hangs on it. */
static void collect(Choice *c, const uint64_t *words, const uint8_t *bytes, const float *p, const float *held, const float *m,
                    const float *v, uint64_t first) {
  uint64_t left[STRETCH / 64 + 1];
  uint16_t begin[STRETCH / 64 + 1];
  int found = 0, k = c->waiting;
  for (int w = 0; w < STRETCH / 64; w++) {
    left[found] = words[w], begin[found] = (uint16_t)(64 * w);
    found += words[w] != 0;
  }
  left[found] = 0;
  uint64_t word = left[0];
  for (int at = 0; at < found; k++) {
    const int i = begin[at] + first_set(word);
    c->p[k] = p[i], c->held[k] = held[i], c->mean[k] = m[i], c->power[k] = v[i], c->byte[k] = (float)bytes[i];
    c->number[k] = first + (uint64_t)i;
    word &= word - 1;
    at += word == 0;
    word = word ? word : left[at];
  }
  c->waiting = k;
}

/* Of those who wait, the steps, and which are chosen; returns whether all steps are finite. */
FOR_MANY_PROCESSORS
static int decide(const Choice *restrict c, Adam a, float *restrict change, uint32_t *restrict chosen) {
  const float scale = 256.0f / c->threshold, threshold = c->threshold;
  const uint64_t key = ~c->key;
  uint32_t further[MOST], finite = 1;
  float whole[MOST];
  for (int k = 0; k < c->waiting; k++) further[k] = (uint32_t)(mixed(key + (c->number[k] + 1) * GAMMA) >> 40);
  for (int k = 0; k < c->waiting; k++) {
    const float step = stepped(&a, c->p[k], c->mean[k], c->power[k]) - c->held[k], scaled = fabsf(step) * scale;
    change[k] = step;
    whole[k] = scaled < 255.0f ? scaled : 255.0f;
  }
  for (int k = 0; k < c->waiting; k++) {
    const float step = change[k], size = fabsf(step), byte = c->byte[k], share = (float)(int32_t)whole[k];
    const float fraction = (float)(int32_t)further[k] * 0x1p-24f; /* 24 further bits, where the byte does not decide */
    const uint32_t large = size >= threshold, more = byte < share, equal = byte == share;
    const uint32_t less = fraction < size * scale - share;
    finite &= size <= FLT_MAX;
    change[k] = copysignf(size > threshold ? size : threshold, step);
    chosen[k] = large | more | (equal & less);
  }
  return finite;
}

/* Append the chosen of those who wait, all of one parameter. */
static void settle(Choice *c, Adam a) {
  float change[MOST];
  uint32_t chosen[MOST];
  c->finite &= decide(c, a, change, chosen);
  ptrdiff_t count = c->count;
  for (int k = 0; k < c->waiting; k++) {
    c->index[count] = (int64_t)c->number[k];
    c->change[count] = change[k];
    count += chosen[k];
  }
  c->count = count, c->waiting = 0;
}

/* Which cells of a part of a stretch may be chosen, after their moments where there is a gradient. Returns whether any weight is
 * not what its cell holds. */
static int examine(const Segment *s, ptrdiff_t done, int here, Adam a, Limits limits, const uint8_t *bytes, uint64_t *words) {
  const float *p = s->p + done, *held = s->held ? s->held + done : nothing;
  float *m = s->m + done, *v = s->v + done;
  uint8_t flags[STRETCH];
  int moved = s->held != NULL;
  if (!s->g) {
    moved_flags(p, held, bytes, limits.unit, flags, here);
  } else {
#if AVX2
    if (limits.quick > 0 && here == STRETCH) {
      if (quick_stretch(p, s->g + done, m, v, held, bytes, a, limits.quick, (uint8_t *)words)) return 0;
    } else
#endif
      new_stretch(p, s->g + done, m, v, a, here);
    moved = adam_flags(p, m, v, held, bytes, a, limits.unit, flags, here);
  }
  memset(flags + here, 0, (size_t)(STRETCH - here));
  in_words(flags, words);
  return moved;
}

/* Go through a parameter whose cells begin at a number; held null: its weights are the steps themselves. */
static void choose_segment(Choice *c, const Segment *s, uint64_t first) {
  const Adam adam = s->g ? adam_of(s) : (Adam){.eps = 1.0f, .shrink = 1.0f};
  const Limits limits = limits_of(c->threshold, adam);
  uint8_t bytes[STRETCH];
  uint64_t words[STRETCH / 64];
  for (ptrdiff_t done = 0; done < s->n;) {
    const uint64_t number = first + (uint64_t)done;
    const int skipped = (int)(number % 8), here = s->n - done < STRETCH - skipped ? (int)(s->n - done) : STRETCH - skipped;
    float *p = s->p + done;
    const float *held = s->held ? s->held + done : nothing;
    draw(c->key, number / 8, bytes);
    const int moved = examine(s, done, here, adam, limits, bytes + skipped, words);
    collect(c, words, bytes + skipped, p, held, s->g ? s->m + done : nothing, s->g ? s->v + done : nothing, number);
    if (moved) memcpy(p, held, sizeof(float) * (size_t)here);
    if (c->waiting > MOST - STRETCH) settle(c, adam);
    done += here;
  }
  settle(c, adam);
}

/* Nothing chosen yet. */
static void begin(Choice *c, float threshold, uint64_t key, int64_t *index, float *change) {
  c->threshold = threshold, c->key = key, c->index = index, c->change = change;
  c->waiting = 0, c->count = 0, c->finite = 1;
}

ptrdiff_t choose(const float *delta, ptrdiff_t n, float threshold, uint64_t key, ptrdiff_t first, int64_t *index, float *change) {
  Choice c;
  begin(&c, threshold, key, index, change);
  const Segment steps = {.p = (float *)delta, .n = n};
  choose_segment(&c, &steps, (uint64_t)first);
  return c.count;
}

ptrdiff_t step_cells(const Segment *segments, ptrdiff_t n_segments, float threshold, uint64_t key, int64_t *index, float *change) {
  Choice c;
  begin(&c, threshold, key, index, change);
  uint64_t first = 0;
  for (const Segment *s = segments; s < segments + n_segments; first += (uint64_t)s->n, s++) choose_segment(&c, s, first);
  return c.finite ? c.count : -1;
}

/* Eight parts side by side: memory answers them sooner than one after the other. */
FOR_MANY_PROCESSORS
static int all_finite(const float *values, ptrdiff_t n) {
  const ptrdiff_t part = n / 8 / 64 * 64;
  int wrong = 0;
  for (ptrdiff_t i = 0; i < part; i += 64)
    for (int k = 0; k < 8; k++)
      for (int j = 0; j < 64; j++) wrong |= !(fabsf(values[k * part + i + j]) <= FLT_MAX);
  for (ptrdiff_t i = 8 * part; i < n; i++) wrong |= !(fabsf(values[i]) <= FLT_MAX);
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
      if (j + SOON < k && index[j + SOON] < first + s->n) {
        CALL_TO_WRITE(s->held + (index[j + SOON] - first));
        CALL_TO_WRITE(s->p + (index[j + SOON] - first));
      }
      const ptrdiff_t i = index[j] - first;
      const float target = s->held[i] / w.r_wg + w.g_zero + change[j] / w.r_wg;
      float landed = target + w.sd * noise[j];
      if (w.loss != 0) landed -= w.loss;
      s->p[i] = s->held[i] = (landed - w.g_zero) * w.r_wg;
    }
}
