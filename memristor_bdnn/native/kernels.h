/* Kernels behind memristor_bdnn.native. Each has a NumPy reference in the Python module that calls it, which is where its
 * formulas are explained; arithmetic is in the same order. Angles in rad, lengths in m, poses 4 x 4 row by row.
 *
 * KERNELS_ABI counts changes of what functions take or mean; native/__init__.py holds the number that it can use.
 */
#ifndef MEMRISTOR_BDNN_KERNELS_H
#define MEMRISTOR_BDNN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define KERNELS_ABI 2
/* Compiled for the vectors of several processors, of which the loader takes the best; no digit depends on which. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define FOR_MANY_PROCESSORS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_MANY_PROCESSORS
#endif

#define MAX_JOINTS 16
#define BRANCHES 8

/* A pose or a number of many: where the first one is, and how far apart they lie, in bytes. */
typedef struct {
  const char *data;
  ptrdiff_t step, row, column;
} Poses;

typedef struct {
  const char *data;
  ptrdiff_t step;
} Numbers;

/* Tool or all frames of n configurations (dof each): out is (n, 16) for the tool alone, else (n, dof + 1, 16). */
typedef struct {
  int dof;
  const double *origins; /* (dof, 16) */
  const double *axes;    /* (dof, 3) */
  const double *tool;    /* (16) */
} Chain;

void chain_frames(const Chain *chain, const double *q, ptrdiff_t n, int tool_only, double *out);

/* Inverse kinematics: q (n, 8, dof), valid (n, 8). The constants begin with the joint limits, low (dof) and high (dof). */
#define PANDA_JOINTS 7
#define PANDA_CONSTANTS (2 * PANDA_JOINTS + 3 + 4 + 16) /* shoulder, upper, elbow, forearm, wrist, from_tool */
void panda_solve(const double *constants, Poses poses, Numbers free, ptrdiff_t n, double *q, uint8_t *valid);

#define SRS_JOINTS 7
#define SRS_CONSTANTS (2 * SRS_JOINTS + 7 + 3 + 2 + 16) /* signs, shoulder, upper, forearm, from_tool */
void srs_solve(const double *constants, Poses poses, Numbers free, ptrdiff_t n, double *q, uint8_t *valid);

#define UR_JOINTS 6
/* signs, first, h, first x h, base, wrist, plane, offset5, height, shoulder, upper, fore, hand, turn_back, to_meeting */
#define UR_CONSTANTS (2 * UR_JOINTS + 3 + 3 + 3 + 3 + 3 + 9 + 9 + 1 + 1 + 2 + 2 + 2 + 2 + 9 + 3)
void ur_solve(const double *constants, Poses poses, Numbers free, ptrdiff_t n, double *q, uint8_t *valid);

/* One parameter of n weights under Adam or AdamW. Null: g, where there is no gradient; held, what the cells hold, where it is
 * not in cells; all but p, held and n where somebody else moves the weights. steps counts the steps taken. */
typedef struct {
  float *p;
  const float *g;
  float *m, *v, *held, *steps;
  int64_t n;
  double lr, beta1, beta2, eps, decay;
  int64_t decoupled; /* AdamW: the weight itself decays, not the gradient */
} Segment;

/* Whether every gradient is finite. */
int gradients_finite(const Segment *segments, ptrdiff_t n_segments);

/* A step of Adam on weights that are not in cells. */
void adam_plain(const Segment *segment);

/* EaPU's choice among n steps of cells from a first one on: their numbers, ascending, and changes; both have room for n, the
 * threshold is above 0. Returns how many. */
ptrdiff_t choose(const float *delta, ptrdiff_t n, float threshold, uint64_t key, ptrdiff_t first, int64_t *index, float *change);

/* The same of all cells, with the steps of their optimiser; parameters get back what their cells hold. -1: a step is not
 * finite. */
ptrdiff_t step_cells(const Segment *segments, ptrdiff_t n_segments, float threshold, uint64_t key, int64_t *index, float *change);

/* What one write does to cells without window and faults, as float32: weight / r_wg + g_zero is a conductance, the noise is
 * normal, loss what is lost on average. */
typedef struct {
  float r_wg, g_zero, sd, loss;
} Writing;

/* Changes k cells, ascending, and their parameters. */
void write_cells(const Segment *segments, ptrdiff_t n_segments, const int64_t *index, const float *change, const float *noise,
                 ptrdiff_t k, Writing w);

/* The next n words of a PCG64 generator: state and increment, each the lower 64 bits first; the state moves on. */
#ifdef __SIZEOF_INT128__
void pcg64(uint64_t *given, uint64_t *out, ptrdiff_t n);
#endif

/* Of random bits (n) uniform numbers in (0, 1], whose logarithm is taken next; of both reads (rows, cells) in place. */
void read_uniforms(const uint32_t *bits, float *out, ptrdiff_t n);
void read_values(const uint32_t *bits, float *values, const float *scale, const float *state, float floor, ptrdiff_t rows,
                 ptrdiff_t cells);

/* Weights (n) of the currents of d devices each. */
void weights_of(const float *currents, float *weights, ptrdiff_t n, ptrdiff_t devices, float offset, float scale);

/* Of s blocks of rows of n: all but the last row of each from tanh(z / 2) to sigmoid(z), in place; and errors (s blocks of
 * rows - 1) multiplied by h (1 - h) of these h. */
void to_sigmoids(float *above, ptrdiff_t s, ptrdiff_t rows, ptrdiff_t n);
void times_slopes(float *delta, const float *above, ptrdiff_t s, ptrdiff_t rows, ptrdiff_t n);

/* Marks of the weights that get a pulse, from gradients (evaluations, n); running means and squares are replaced. work has
 * room for 3 n words. count: how many each evaluation votes for; needed: votes that mark a weight. */
typedef struct {
  const float *gradient;
  ptrdiff_t evaluations, n;
  float *mean, *square, *average;
  float keep, take, correction;
  ptrdiff_t count;
  int needed;
} Vote;

void marks(const Vote *vote, uint32_t *work, uint8_t *marked);

/* Outputs (networks, n) of networks of tanh units with one output, to some 1e-6. sizes: inputs, units of each layer, 1;
 * weights (networks, n_weights): layer after layer a row of outputs for each input, the bias last; the output is halved. */
typedef struct {
  const int64_t *sizes;
  ptrdiff_t n_layers, networks, n_weights;
  const float *weights;
} Networks;

#define LOOK_ROWS 64
/* work has room for 3 LOOK_ROWS numbers for each of the widest layer's units, aligned to 64 bytes. */
void look(const Networks *networks, const float *rows, ptrdiff_t n, float *work, float *out);

#endif
