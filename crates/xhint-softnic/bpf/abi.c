// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* One of each type of wire.h, compiled for their BTF alone. */
#include <linux/types.h>

#include "wire.h"

struct plan plan;
struct truth truth;
enum slot slot;
enum class class;
enum pkt_type pkt_type;
enum csum_state csum_state;
enum op_flag op_flag;
enum plan_mode plan_mode;
enum counter counter;
