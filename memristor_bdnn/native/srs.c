/* Inverse kinematics of arms with spherical shoulder and wrist; the reference is motion/ik/srs.py. */
#include "vectors.h"

#define STRAIGHT 1e-11

static Vector unit(Vector v, double least) {
  double length = sqrt(dot(v, v));
  double by = length < least ? least : length;
  return (Vector){v.x / by, v.y / by, v.z / by};
}

static Vector times_joints(Vector first, double a, Vector second, double b, double by) {
  Vector sum = plus(times(first, a), times(second, b));
  return (Vector){sum.x / by, sum.y / by, sum.z / by};
}

void srs_solve(const double *constants, Poses poses, Numbers free, ptrdiff_t n, double *q, uint8_t *valid) {
  const double *low = constants, *high = low + SRS_JOINTS, *signs = high + SRS_JOINTS;
  const Vector shoulder = vector(signs + 7);
  const double upper = signs[10], forearm = signs[11];
  const Frame from_tool = frame_of(signs + 12);
  for (ptrdiff_t i = 0; i < n; i++, q += BRANCHES * SRS_JOINTS, valid += BRANCHES) {
    Frame tool = frame_at(poses, i), wrist = after(&tool, &from_tool);
    Vector reach = minus(wrist.p, shoulder);
    double squared = dot(reach, reach);
    double cosine = (squared - upper * upper - forearm * forearm) / (2 * upper * forearm);
    int reachable = (fabs(cosine) <= 1 + COSINE_SLACK) & (squared > 1e-12);
    double angle4 = acos(clipped(cosine, -1.0, 1.0)), c4 = cos(angle4), s4 = sin(angle4);
    Vector along = unit(reach, 1e-12);
    Vector upwards = fabs(along.z) > 1 - 1e-9 ? (Vector){1, 0, 0} : (Vector){0, 0, 1};
    Vector first = unit(minus(upwards, times(along, dot(upwards, along))), 0.0);
    Vector second = cross(along, first);
    double distance = sqrt(squared < 1e-12 ? 1e-12 : squared);
    double height = upper + forearm * c4, side = forearm * s4;
    double angle = at(free.data + i * free.step);
    Vector outwards = plus(times(first, cos(angle)), times(second, sin(angle)));
    Vector z3 = times_joints(along, height, outwards, side, distance);
    Vector x3 = times_joints(along, side, outwards, -height, distance);
    Vector y3 = cross(z3, x3);
    for (int k = 0; k < 2; k++) {
      double sign = k ? -1.0 : 1.0, se = sign * s4;
      Vector x = times(x3, sign), y = times(y3, sign);
      /* the upper arm turned by the elbow; its transpose times the wrist's rotation, by columns */
      Vector xe = minus(times(x, c4), times(z3, se)), ze = plus(times(x, se), times(z3, c4));
      Vector columns[3], *of[3] = {&wrist.x, &wrist.y, &wrist.z};
      for (int c = 0; c < 3; c++) columns[c] = (Vector){dot(xe, *of[c]), dot(y, *of[c]), dot(ze, *of[c])};
      double shoulders[2][3], wrists[2][3];
      zyz(x, y, z3, STRAIGHT, shoulders[0]), zyz_other(shoulders[0], shoulders[1]);
      zyz(columns[0], columns[1], columns[2], STRAIGHT, wrists[0]), zyz_other(wrists[0], wrists[1]);
      for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++) {
          int branch = 4 * a + 2 * k + b;
          double *row = q + branch * SRS_JOINTS;
          for (int j = 0; j < 3; j++) row[j] = shoulders[a][j] * signs[j], row[4 + j] = wrists[b][j] * signs[4 + j];
          row[3] = sign * angle4 * signs[3];
          valid[branch] = (uint8_t)(wrap_into_limits(row, low, high, SRS_JOINTS) & reachable);
        }
    }
  }
}
