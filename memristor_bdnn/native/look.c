/* A first look at many rows by networks of tanh units; the reference is network/bayesian.py: forward_flat.
 *
 * LOOK_ROWS rows go through all layers of a network before the next ones: what they carry stays in the first cache. Only
 * who is promising is decided by a look, so that tanh is as exact as that needs, and products may be fused with sums.
 */
#pragma GCC optimize("fp-contract=fast")
#include <math.h>
#include <string.h>

#include "kernels.h"

#define LANES 16
#define PARTS (LOOK_ROWS / LANES)
#define AT_ONCE 4

#if defined(__GNUC__)
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Truth __attribute__((vector_size(LANES * sizeof(float))));
#define INLINE static inline __attribute__((always_inline))

/* x to tanh(x) as x P(x^2) / Q(x^2), a least-squares fit made nearly equal in error over [0, 8]: within 5e-7. */
INLINE void tanh_of(Lanes *value) {
  const Lanes none = {0};
  const Lanes most = none + 8.0f, least = none - 8.0f;
  Lanes x = *value;
  x = (Lanes)(((Truth)x & (x < most)) | ((Truth)most & ~(x < most)));
  x = (Lanes)(((Truth)x & (x > least)) | ((Truth)least & ~(x > least)));
  const Lanes s = x * x;
  const Lanes p = ((1.13102052e-05f * s + 2.93882581e-03f) * s + 1.29136394e-01f) * s + 9.99999362e-01f;
  const Lanes q = (((2.42383575e-07f * s + 2.37028214e-04f) * s + 2.37638191e-02f) * s + 4.62467381e-01f) * s + 1.0f;
  *value = x * p / q;
}

/* Units first to first + count of a layer for all rows of the block: weights are (inputs + 1, outputs). */
INLINE void units(const float *restrict w, ptrdiff_t inputs, ptrdiff_t outputs, ptrdiff_t first, const Lanes *restrict below,
                  Lanes *restrict above, const int count) {
  const Lanes none = {0};
  Lanes total[AT_ONCE][PARTS];
#pragma GCC unroll 4
  for (int u = 0; u < count; u++)
#pragma GCC unroll 4
    for (int k = 0; k < PARTS; k++) total[u][k] = none + w[inputs * outputs + first + u];
  for (ptrdiff_t i = 0; i < inputs; i++) {
    const float *row = w + i * outputs + first;
#pragma GCC unroll 4
    for (int u = 0; u < count; u++)
#pragma GCC unroll 4
      for (int k = 0; k < PARTS; k++) total[u][k] += row[u] * below[i * PARTS + k];
  }
#pragma GCC unroll 4
  for (int u = 0; u < count; u++)
#pragma GCC unroll 4
    for (int k = 0; k < PARTS; k++) {
      tanh_of(&total[u][k]);
      above[(first + u) * PARTS + k] = total[u][k];
    }
}

INLINE void layer(const float *w, ptrdiff_t inputs, ptrdiff_t outputs, const Lanes *below, Lanes *above) {
  ptrdiff_t first = 0;
  for (; first + AT_ONCE <= outputs; first += AT_ONCE) units(w, inputs, outputs, first, below, above, AT_ONCE);
  for (; first < outputs; first++) units(w, inputs, outputs, first, below, above, 1);
}

FOR_MANY_PROCESSORS
static void block(const Networks *nets, const float *rows, ptrdiff_t n, ptrdiff_t stride, float *work, float *out) {
  const int64_t *sizes = nets->sizes;
  ptrdiff_t widest = sizes[0];
  for (ptrdiff_t k = 1; k <= nets->n_layers; k++) widest = sizes[k] > widest ? sizes[k] : widest;
  float *inputs = work;
  for (ptrdiff_t i = 0; i < sizes[0]; i++)
    for (ptrdiff_t r = 0; r < LOOK_ROWS; r++) inputs[i * LOOK_ROWS + r] = r < n ? rows[r * sizes[0] + i] : 0.0f;
  for (ptrdiff_t net = 0; net < nets->networks; net++) {
    const float *w = nets->weights + net * nets->n_weights;
    Lanes *from = (Lanes *)inputs, *to = (Lanes *)(work + widest * LOOK_ROWS), *next = to + widest * PARTS;
    for (ptrdiff_t k = 0; k < nets->n_layers; k++) {
      layer(w, sizes[k], sizes[k + 1], from, to);
      w += (sizes[k] + 1) * sizes[k + 1];
      Lanes *other = k ? from : next;
      from = to, to = other;
    }
    const float *last = (const float *)from;
    for (ptrdiff_t r = 0; r < n; r++) out[net * stride + r] = last[r] * 0.5f + 0.5f;
  }
}

void look(const Networks *networks, const float *rows, ptrdiff_t n, float *work, float *out) {
  for (ptrdiff_t done = 0; done < n; done += LOOK_ROWS)
    block(networks, rows + done * networks->sizes[0], n - done < LOOK_ROWS ? n - done : LOOK_ROWS, n, work, out + done);
}
#endif
