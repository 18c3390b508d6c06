/* Three numbers at a time, and what the closed forms share. */
#ifndef MEMRISTOR_BDNN_VECTORS_H
#define MEMRISTOR_BDNN_VECTORS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

#define PI 3.14159265358979323846
#define LIMIT_SLACK 1e-9
#define COSINE_SLACK 1e-12

typedef struct {
  double x, y, z;
} Vector;

static inline double at(const char *data) {
  double value;
  memcpy(&value, data, sizeof value);
  return value;
}

static inline Vector vector(const double *v) { return (Vector){v[0], v[1], v[2]}; }
static inline Vector plus(Vector a, Vector b) { return (Vector){a.x + b.x, a.y + b.y, a.z + b.z}; }
static inline Vector minus(Vector a, Vector b) { return (Vector){a.x - b.x, a.y - b.y, a.z - b.z}; }
static inline Vector times(Vector a, double s) { return (Vector){a.x * s, a.y * s, a.z * s}; }
static inline double dot(Vector a, Vector b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static inline Vector cross(Vector a, Vector b) {
  return (Vector){a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

/* a + c b and so on: a x + b y + c z */
static inline Vector combined(Vector a, double x, Vector b, double y, Vector c, double z) {
  return (Vector){a.x * x + b.x * y + c.x * z, a.y * x + b.y * y + c.y * z, a.z * x + b.z * y + c.z * z};
}

/* A rigid pose by the columns of its rotation, and its position. */
typedef struct {
  Vector x, y, z, p;
} Frame;

static inline Frame frame_at(Poses poses, ptrdiff_t i) {
  const char *d = poses.data + i * poses.step;
  const ptrdiff_t r = poses.row, c = poses.column;
  return (Frame){
      {at(d), at(d + r), at(d + 2 * r)},
      {at(d + c), at(d + r + c), at(d + 2 * r + c)},
      {at(d + 2 * c), at(d + r + 2 * c), at(d + 2 * r + 2 * c)},
      {at(d + 3 * c), at(d + r + 3 * c), at(d + 2 * r + 3 * c)},
  };
}

static inline Frame frame_of(const double *m) {
  return (Frame){{m[0], m[4], m[8]}, {m[1], m[5], m[9]}, {m[2], m[6], m[10]}, {m[3], m[7], m[11]}};
}

static inline Vector turned(const Frame *f, Vector v) { return combined(f->x, v.x, f->y, v.y, f->z, v.z); }

static inline Frame after(const Frame *f, const Frame *g) {
  return (Frame){turned(f, g->x), turned(f, g->y), turned(f, g->z), plus(turned(f, g->p), f->p)};
}

/* As numpy.clip: NaN stays NaN. */
static inline double clipped(double value, double low, double high) {
  return value < low ? low : value > high ? high : value;
}

/* floor; what is no angle comes back as it is */
static inline double whole(double value) {
  if (!(fabs(value) < 1e15)) return value;
  double cut = (double)(int64_t)value;
  return cut > value ? cut - 1.0 : cut;
}

/* motion/ik/base.py: wrap_into_limits of one configuration. */
static inline int wrap_into_limits(double *q, const double *low, const double *high, int dof) {
  int inside = 1;
  for (int k = 0; k < dof; k++) {
    double middle = (low[k] + high[k]) / 2 - PI;
    double shifted = (low[k] > middle ? low[k] : middle) - LIMIT_SLACK;
    double angle = q[k] - shifted;
    angle -= whole(angle * (1 / (2 * PI))) * (2 * PI);
    angle += shifted;
    inside &= angle <= high[k] + LIMIT_SLACK;
    q[k] = clipped(angle, low[k], high[k]);
  }
  return inside;
}

/* ZYZ angles of a rotation by its columns; with the middle one 0, half of the sum for each of the others. */
static inline void zyz(Vector x, Vector y, Vector z, double straight, double *angles) {
  double first = fabs(z.x) + fabs(z.y) < straight ? 0.5 * atan2(x.y, x.x) : atan2(z.y, z.x);
  double c = cos(first), s = sin(first);
  angles[0] = first;
  angles[1] = atan2(c * z.x + s * z.y, z.z);
  angles[2] = atan2(c * x.y - s * x.x, c * y.y - s * y.x);
}

/* The other triple of the same rotation. */
static inline void zyz_other(const double *angles, double *other) {
  other[0] = angles[0] + PI;
  other[1] = -angles[1];
  other[2] = angles[2] + PI;
}

#endif
