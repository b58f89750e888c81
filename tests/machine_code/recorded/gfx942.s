 .amdgcn_target "amdgpu9.42-amd-amdhsa-unknown-gfx942"
 .amdhsa_code_object_version 5
 .text
 .globl	dense                           ; -- Begin function dense
 .p2align	8
 .type	dense,@function
dense:                                  ; @dense
 s_load_dwordx2 s[2:3], s[0:1], 0x0
 s_load_dwordx8 s[4:11], s[0:1], 0x8
 s_load_dwordx4 s[12:15], s[0:1], 0x28
 s_waitcnt lgkmcnt(0)
 s_branch .LBB0_0
 .p2align	8
.LBB0_0:
 s_ashr_i32 s0, s17, 31
 s_mul_i32 s13, s13, s17
 s_mul_i32 s0, s12, s0
 s_mul_hi_u32 s1, s12, s17
 s_add_i32 s13, s0, s13
 s_mov_b32 s20, s15
 s_lshl_b32 s15, s16, 5
 v_lshrrev_b32_e32 v9, 1, v0
 s_add_i32 s1, s13, s1
 s_mul_i32 s0, s12, s17
 v_or_b32_e32 v1, s15, v9
 s_lshl_b64 s[18:19], s[0:1], 1
 v_lshlrev_b32_e32 v2, 4, v1
 s_add_u32 s0, s2, s18
 v_ashrrev_i32_e32 v3, 31, v2
 v_and_b32_e32 v14, 1, v0
 v_mov_b32_e32 v8, 0
 s_addc_u32 s1, s3, s19
 v_lshl_add_u64 v[2:3], v[2:3], 1, s[0:1]
 v_lshlrev_b32_e32 v4, 4, v14
 v_mov_b32_e32 v5, v8
 v_lshl_add_u64 v[2:3], v[2:3], 0, v[4:5]
 global_load_dwordx4 v[2:5], v[2:3], off
 v_and_b32_e32 v1, 32, v0
 v_and_b32_e32 v25, 31, v0
 v_lshrrev_b32_e32 v13, 3, v1
 v_mov_b32_e32 v7, v8
 v_mov_b32_e32 v12, s17
 v_lshlrev_b32_e32 v6, 3, v14
 v_lshlrev_b32_e32 v10, 4, v9
 v_lshl_or_b32 v9, v25, 3, v13
 v_cmp_eq_u32_e32 vcc, 0, v14
 v_mad_u64_u32 v[12:13], s[0:1], s12, v12, v[6:7]
 v_xor_b32_e32 v6, 4, v9
 v_mov_b32_e32 v11, v8
 v_add_u32_e32 v13, s13, v13
 s_cmp_gt_i32 s14, 0
 s_cselect_b64 s[0:1], -1, 0
 s_cmp_lt_i32 s14, 1
 s_waitcnt vmcnt(0)
 v_cndmask_b32_e32 v7, v4, v2, vcc
 v_cndmask_b32_e32 v2, v2, v4, vcc
 v_cndmask_b32_e32 v4, v5, v3, vcc
 v_cndmask_b32_e32 v3, v3, v5, vcc
 ds_bpermute_b32 v5, v9, v7
 ds_bpermute_b32 v4, v9, v4
 ds_bpermute_b32 v7, v6, v2
 ds_bpermute_b32 v6, v6, v3
 v_lshl_add_u64 v[2:3], v[12:13], 0, v[10:11]
 s_cbranch_scc1 .LBB0_3
 v_lshl_add_u64 v[8:9], v[2:3], 1, s[4:5]
 global_load_dwordx4 v[8:11], v[8:9], off
 s_and_b64 s[0:1], s[0:1], exec
 s_cselect_b32 s0, 1, 0
 s_cmp_lg_u32 s0, 1
 s_cbranch_scc1 .LBB0_4
.LBB0_2:
 v_lshl_add_u64 v[12:13], v[2:3], 1, s[6:7]
 global_load_dwordx4 v[12:15], v[12:13], off
 s_branch .LBB0_5
.LBB0_3:
 v_mov_b32_e32 v9, 0
 v_mov_b32_e32 v10, 0
 v_mov_b32_e32 v11, 0
 s_and_b64 s[0:1], s[0:1], exec
 s_cselect_b32 s0, 1, 0
 s_cmp_lg_u32 s0, 1
 s_cbranch_scc0 .LBB0_2
.LBB0_4:
 v_mov_b32_e32 v12, 0
 v_mov_b32_e32 v13, v12
 v_mov_b32_e32 v14, v12
 v_mov_b32_e32 v15, v12
.LBB0_5:
 v_cmp_eq_u32_e64 s[0:1], 0, v1
 v_and_b32_e32 v39, 15, v0
 s_sub_i32 s13, s14, 32
 s_waitcnt lgkmcnt(0)
 v_cndmask_b32_e64 v29, v6, v4, s[0:1]
 v_cndmask_b32_e64 v27, v4, v6, s[0:1]
 v_lshlrev_b32_e32 v4, 4, v0
 v_mov_b32_e32 v17, 0
 v_and_b32_e32 v38, 48, v0
 s_mov_b32 s12, 0
 v_cndmask_b32_e64 v28, v7, v5, s[0:1]
 v_cndmask_b32_e64 v26, v5, v7, s[0:1]
 v_add_u32_e32 v45, 0, v4
 s_cmp_lt_i32 s13, 1
 v_mov_b32_e32 v36, 0
 v_mov_b32_e32 v24, 0xff800000
 v_lshrrev_b32_e32 v44, 2, v1
 v_lshlrev_b32_e32 v43, 2, v0
 v_lshlrev_b32_e32 v40, 1, v39
 v_and_b32_e32 v41, 16, v0
 v_lshrrev_b32_e32 v42, 1, v1
 v_mov_b32_e32 v16, v17
 v_mov_b32_e32 v19, v17
 v_mov_b32_e32 v18, v17
 v_mov_b32_e32 v21, v17
 v_mov_b32_e32 v20, v17
 v_mov_b32_e32 v23, v17
 v_mov_b32_e32 v22, v17
 s_waitcnt vmcnt(0)
 ds_write_b128 v45, v[8:11]
 ds_write_b128 v45, v[12:15] offset:1024
 s_cbranch_scc1 .LBB0_8
 v_lshlrev_b32_e32 v0, 1, v41
 v_or3_b32 v0, v0, v42, v39
 v_lshlrev_b32_e32 v46, 2, v0
 v_mov_b64_e32 v[0:1], 0x400
 v_mov_b32_e32 v22, 0
 v_lshl_add_u32 v4, v25, 5, 0
 v_lshl_add_u32 v5, v38, 3, 0
 v_lshl_add_u64 v[0:1], v[2:3], 1, v[0:1]
 v_cmp_eq_u32_e32 vcc, 0, v41
 s_mov_b32 s21, s20
 s_mov_b64 s[2:3], 0x400
 v_lshl_add_u64 v[30:31], s[6:7], 0, v[0:1]
 v_lshl_add_u64 v[32:33], s[4:5], 0, v[0:1]
 v_mov_b32_e32 v49, 0
 v_mov_b32_e32 v48, 0xff800000
 v_add_u32_e32 v47, v4, v44
 v_add_u32_e32 v50, v5, v40
 s_mov_b32 s4, 0x5040100
 v_mov_b32_e32 v23, v22
 v_mov_b32_e32 v20, v22
 v_mov_b32_e32 v21, v22
 v_mov_b32_e32 v18, v22
 v_mov_b32_e32 v19, v22
 v_mov_b32_e32 v16, v22
 v_mov_b32_e32 v17, v22
.LBB0_7:                                ; =>This Inner Loop Header: Depth=1
 global_load_dwordx4 v[52:55], v[32:33], off
 s_waitcnt lgkmcnt(0)
 global_load_dwordx4 v[70:73], v[30:31], off
 ds_read2_b64 v[56:59], v47 offset1:2
 ds_read_u16 v34, v50 offset:1024
 ds_read_u16 v35, v50 offset:1056
 ds_read_u16 v36, v50 offset:1088
 ds_read_u16 v37, v50 offset:1120
 ds_read_u16 v51, v50 offset:1536
 ds_read_u16 v60, v50 offset:1568
 ds_read_u16 v61, v50 offset:1600
 ds_read_u16 v62, v50 offset:1632
 s_waitcnt lgkmcnt(4)
 v_perm_b32 v37, v37, v36, s4
 v_perm_b32 v36, v35, v34, s4
 s_waitcnt lgkmcnt(2)
 v_perm_b32 v34, v60, v51, s4
 v_mfma_f32_32x32x8_f16 v[0:15], v[56:57], v[28:29], 0
 v_xor_b32_e32 v64, 0x80, v43
 v_max_f32_e32 v24, v48, v48
 s_waitcnt lgkmcnt(0)
 v_perm_b32 v35, v62, v61, s4
 s_add_i32 s12, s12, 32
 v_lshl_add_u64 v[30:31], v[30:31], 0, s[2:3]
 v_lshl_add_u64 v[32:33], v[32:33], 0, s[2:3]
 s_cmp_lt_i32 s12, s13
 v_mfma_f32_32x32x8_f16 v[0:15], v[58:59], v[26:27], v[0:15]
 s_waitcnt vmcnt(1)
 ds_write_b128 v45, v[52:55]
 s_waitcnt vmcnt(0)
 ds_write_b128 v45, v[70:73] offset:1024
 s_nop 6
 v_max_f32_e32 v51, v1, v1
 v_max_f32_e32 v56, v0, v0
 v_max3_f32 v57, v3, v4, v5
 v_max3_f32 v59, v9, v10, v11
 v_max3_f32 v60, v12, v13, v14
 v_max_f32_e32 v51, v56, v51
 v_max3_f32 v58, v6, v7, v8
 v_max3_f32 v56, v59, v60, v15
 v_max3_f32 v51, v51, v2, v57
 v_max3_f32 v51, v51, v58, v56
 ds_bpermute_b32 v56, v64, v51
 s_waitcnt lgkmcnt(0)
 v_max_f32_e32 v56, v56, v56
 v_max_f32_e32 v51, v51, v56
 v_mul_f32_e32 v51, s20, v51
 v_max_f32_e32 v24, v24, v51
 v_pk_fma_f32 v[0:1], s[20:21], v[0:1], v[24:25] op_sel_hi:[1,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[2:3], s[20:21], v[2:3], v[24:25] op_sel_hi:[1,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_sub_f32_e32 v51, v48, v24
 v_exp_f32_e32 v0, v0
 v_exp_f32_e32 v1, v1
 v_exp_f32_e32 v2, v2
 v_exp_f32_e32 v3, v3
 v_pk_fma_f32 v[4:5], s[20:21], v[4:5], v[24:25] op_sel_hi:[1,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[6:7], s[20:21], v[6:7], v[24:25] op_sel_hi:[1,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_exp_f32_e32 v51, v51
 v_pk_fma_f32 v[8:9], s[20:21], v[8:9], v[24:25] op_sel_hi:[1,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[10:11], s[20:21], v[10:11], v[24:25] op_sel_hi:[1,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[12:13], s[20:21], v[12:13], v[24:25] op_sel_hi:[1,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[14:15], s[20:21], v[14:15], v[24:25] op_sel_hi:[1,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_exp_f32_e32 v4, v4
 v_exp_f32_e32 v5, v5
 v_exp_f32_e32 v6, v6
 v_exp_f32_e32 v7, v7
 v_exp_f32_e32 v8, v8
 v_exp_f32_e32 v9, v9
 v_exp_f32_e32 v10, v10
 v_exp_f32_e32 v11, v11
 v_exp_f32_e32 v12, v12
 v_exp_f32_e32 v13, v13
 v_exp_f32_e32 v14, v14
 v_exp_f32_e32 v15, v15
 v_pk_add_f32 v[56:57], v[0:1], v[2:3]
 v_cvt_f16_f32_e32 v65, v0
 v_xor_b32_e32 v0, 64, v43
 ds_bpermute_b32 v69, v0, v51
 v_pk_add_f32 v[58:59], v[4:5], v[6:7]
 v_cvt_f16_f32_e32 v66, v1
 v_cvt_f16_f32_e32 v67, v2
 v_cvt_f16_f32_e32 v68, v3
 v_cvt_f16_f32_e32 v4, v4
 v_cvt_f16_f32_e32 v5, v5
 v_cvt_f16_f32_e32 v6, v6
 v_cvt_f16_f32_e32 v7, v7
 v_pk_add_f32 v[60:61], v[8:9], v[10:11]
 v_pk_add_f32 v[62:63], v[12:13], v[14:15]
 v_cvt_f16_f32_e32 v8, v8
 v_cvt_f16_f32_e32 v9, v9
 v_cvt_f16_f32_e32 v10, v10
 v_cvt_f16_f32_e32 v11, v11
 v_cvt_f16_f32_e32 v12, v12
 v_cvt_f16_f32_e32 v13, v13
 v_pk_add_f32 v[0:1], v[56:57], v[58:59]
 v_pk_add_f32 v[2:3], v[60:61], v[62:63]
 v_cvt_f16_f32_e32 v14, v14
 v_pk_add_f32 v[0:1], v[0:1], v[2:3]
 v_cvt_f16_f32_e32 v15, v15
 v_add_f32_e32 v56, v0, v1
 v_pack_b32_f16 v0, v65, v66
 v_pack_b32_f16 v1, v67, v68
 v_pack_b32_f16 v4, v4, v5
 v_pack_b32_f16 v5, v6, v7
 s_waitcnt lgkmcnt(0)
 v_cndmask_b32_e32 v6, v51, v69, vcc
 v_pack_b32_f16 v3, v8, v9
 v_pack_b32_f16 v8, v10, v11
 v_pack_b32_f16 v7, v12, v13
 v_cndmask_b32_e32 v10, v4, v0, vcc
 v_cndmask_b32_e32 v11, v0, v4, vcc
 v_cndmask_b32_e32 v12, v5, v1, vcc
 v_cndmask_b32_e32 v13, v1, v5, vcc
 v_pk_mul_f32 v[4:5], v[16:17], v[6:7] op_sel_hi:[1,0]
 v_xor_b32_e32 v16, 64, v46
 ds_bpermute_b32 v10, v46, v10
 ds_bpermute_b32 v12, v46, v12
 ds_bpermute_b32 v11, v16, v11
 ds_bpermute_b32 v13, v16, v13
 v_pack_b32_f16 v9, v14, v15
 v_cndmask_b32_e32 v14, v7, v3, vcc
 v_cndmask_b32_e32 v15, v3, v7, vcc
 v_cndmask_b32_e32 v58, v9, v8, vcc
 v_cndmask_b32_e32 v59, v8, v9, vcc
 v_cndmask_b32_e32 v2, v69, v51, vcc
 ds_bpermute_b32 v14, v46, v14
 ds_bpermute_b32 v17, v46, v58
 ds_bpermute_b32 v15, v16, v15
 ds_bpermute_b32 v16, v16, v59
 v_pk_mul_f32 v[0:1], v[20:21], v[2:3] op_sel_hi:[1,0]
 v_pk_mul_f32 v[2:3], v[22:23], v[2:3] op_sel_hi:[1,0]
 s_waitcnt lgkmcnt(5)
 v_cndmask_b32_e64 v8, v11, v10, s[0:1]
 s_waitcnt lgkmcnt(4)
 v_cndmask_b32_e64 v9, v13, v12, s[0:1]
 v_pk_mul_f32 v[6:7], v[18:19], v[6:7] op_sel_hi:[1,0]
 ds_bpermute_b32 v57, v64, v56
 v_mfma_f32_16x16x16_f16 v[0:3], v[36:37], v[8:9], v[0:3]
 v_cndmask_b32_e64 v8, v10, v11, s[0:1]
 v_cndmask_b32_e64 v9, v12, v13, s[0:1]
 v_mov_b32_e32 v48, v24
 s_nop 0
 v_mfma_f32_16x16x16_f16 v[4:7], v[36:37], v[8:9], v[4:7]
 s_waitcnt lgkmcnt(2)
 v_cndmask_b32_e64 v8, v15, v14, s[0:1]
 s_waitcnt lgkmcnt(1)
 v_cndmask_b32_e64 v9, v16, v17, s[0:1]
 s_waitcnt lgkmcnt(0)
 v_add_f32_e32 v36, v56, v57
 v_fmac_f32_e32 v36, v49, v51
 v_mfma_f32_16x16x16_f16 v[20:23], v[34:35], v[8:9], v[0:3]
 v_mov_b32_e32 v49, v36
 s_nop 1
 v_cndmask_b32_e64 v0, v14, v15, s[0:1]
 v_cndmask_b32_e64 v1, v17, v16, s[0:1]
 s_nop 1
 v_mfma_f32_16x16x16_f16 v[16:19], v[34:35], v[0:1], v[4:7]
 s_cbranch_scc1 .LBB0_7
.LBB0_8:                                ; %._crit_edge
 s_add_i32 s4, s14, 31
 s_cmp_gt_i32 s4, 31
 s_cselect_b64 s[2:3], -1, 0
 s_cmp_lt_i32 s4, 32
 v_mov_b32_e32 v14, 0
 v_mov_b32_e32 v15, 0
 v_mov_b32_e32 v12, 0
 v_mov_b32_e32 v13, 0
 v_mov_b32_e32 v10, 0
 v_mov_b32_e32 v11, 0
 v_mov_b32_e32 v8, 0
 v_mov_b32_e32 v9, 0
 v_mov_b32_e32 v6, 0
 v_mov_b32_e32 v7, 0
 v_mov_b32_e32 v4, 0
 v_mov_b32_e32 v5, 0
 v_mov_b32_e32 v2, 0
 v_mov_b32_e32 v3, 0
 v_mov_b32_e32 v0, 0
 v_mov_b32_e32 v1, 0
 s_waitcnt lgkmcnt(0)
 s_cbranch_scc1 .LBB0_10
 v_lshlrev_b32_e32 v0, 5, v25
 v_add3_u32 v0, 0, v0, v44
 ds_read2_b64 v[30:33], v0 offset1:2
 s_waitcnt lgkmcnt(0)
 v_mfma_f32_32x32x8_f16 v[0:15], v[30:31], v[28:29], 0
 v_mfma_f32_32x32x8_f16 v[0:15], v[32:33], v[26:27], v[0:15]
.LBB0_10:
 s_nop 10
 v_max_f32_e32 v26, v1, v1
 v_max_f32_e32 v27, v0, v0
 v_max_f32_e32 v26, v27, v26
 v_max3_f32 v27, v3, v4, v5
 v_max3_f32 v29, v9, v10, v11
 v_max3_f32 v30, v12, v13, v14
 v_max3_f32 v28, v6, v7, v8
 v_max3_f32 v26, v26, v2, v27
 v_max3_f32 v27, v29, v30, v15
 v_max3_f32 v26, v26, v28, v27
 v_xor_b32_e32 v27, 0x80, v43
 ds_bpermute_b32 v28, v27, v26
 v_cmp_eq_u32_e32 vcc, 0, v41
 s_and_b64 s[2:3], s[2:3], exec
 s_cselect_b32 s2, 1, 0
 s_cmp_lg_u32 s2, 1
 s_waitcnt lgkmcnt(0)
 v_max_f32_e32 v28, v28, v28
 v_max_f32_e32 v26, v26, v28
 v_mul_f32_e32 v26, s20, v26
 v_max_f32_e32 v28, v24, v24
 v_max_f32_e32 v26, v28, v26
 v_pk_fma_f32 v[0:1], s[20:21], v[0:1], v[26:27] op_sel_hi:[0,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[2:3], s[20:21], v[2:3], v[26:27] op_sel_hi:[0,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[4:5], s[20:21], v[4:5], v[26:27] op_sel_hi:[0,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[6:7], s[20:21], v[6:7], v[26:27] op_sel_hi:[0,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[8:9], s[20:21], v[8:9], v[26:27] op_sel_hi:[0,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[10:11], s[20:21], v[10:11], v[26:27] op_sel_hi:[0,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[12:13], s[20:21], v[12:13], v[26:27] op_sel_hi:[0,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_pk_fma_f32 v[14:15], s[20:21], v[14:15], v[26:27] op_sel_hi:[0,1,0] neg_lo:[0,0,1] neg_hi:[0,0,1]
 v_exp_f32_e32 v28, v0
 v_exp_f32_e32 v29, v1
 v_exp_f32_e32 v30, v2
 v_exp_f32_e32 v31, v3
 v_exp_f32_e32 v4, v4
 v_exp_f32_e32 v5, v5
 v_exp_f32_e32 v6, v6
 v_exp_f32_e32 v7, v7
 v_exp_f32_e32 v8, v8
 v_exp_f32_e32 v9, v9
 v_exp_f32_e32 v10, v10
 v_exp_f32_e32 v11, v11
 v_exp_f32_e32 v12, v12
 v_exp_f32_e32 v13, v13
 v_exp_f32_e32 v14, v14
 v_exp_f32_e32 v15, v15
 v_pk_add_f32 v[2:3], v[28:29], v[30:31]
 v_pk_add_f32 v[32:33], v[4:5], v[6:7]
 v_pk_add_f32 v[34:35], v[8:9], v[10:11]
 v_pk_add_f32 v[44:45], v[12:13], v[14:15]
 v_pk_add_f32 v[2:3], v[2:3], v[32:33]
 v_pk_add_f32 v[32:33], v[34:35], v[44:45]
 v_cvt_f16_f32_e32 v4, v4
 v_pk_add_f32 v[2:3], v[2:3], v[32:33]
 v_cvt_f16_f32_e32 v5, v5
 v_add_f32_e32 v2, v2, v3
 ds_bpermute_b32 v3, v27, v2
 v_cvt_f16_f32_e32 v27, v28
 v_cvt_f16_f32_e32 v28, v29
 v_cvt_f16_f32_e32 v29, v30
 v_cvt_f16_f32_e32 v30, v31
 v_cvt_f16_f32_e32 v6, v6
 v_cvt_f16_f32_e32 v7, v7
 v_cvt_f16_f32_e32 v8, v8
 v_cvt_f16_f32_e32 v9, v9
 v_cvt_f16_f32_e32 v10, v10
 v_cvt_f16_f32_e32 v11, v11
 v_cvt_f16_f32_e32 v31, v12
 v_cvt_f16_f32_e32 v13, v13
 v_cvt_f16_f32_e32 v14, v14
 v_cvt_f16_f32_e32 v15, v15
 v_sub_f32_e32 v0, v24, v26
 v_pack_b32_f16 v27, v27, v28
 v_pack_b32_f16 v28, v29, v30
 v_pack_b32_f16 v8, v8, v9
 v_pack_b32_f16 v9, v10, v11
 v_pack_b32_f16 v4, v4, v5
 v_pack_b32_f16 v5, v6, v7
 v_pack_b32_f16 v6, v31, v13
 v_pack_b32_f16 v7, v14, v15
 v_exp_f32_e32 v1, v0
 v_cndmask_b32_e32 v10, v4, v27, vcc
 v_cndmask_b32_e32 v11, v27, v4, vcc
 v_cndmask_b32_e32 v4, v5, v28, vcc
 v_cndmask_b32_e32 v13, v28, v5, vcc
 v_cndmask_b32_e32 v5, v6, v8, vcc
 v_cndmask_b32_e32 v6, v8, v6, vcc
 v_cndmask_b32_e32 v8, v7, v9, vcc
 v_cndmask_b32_e32 v14, v9, v7, vcc
 v_lshlrev_b32_e32 v7, 1, v41
 v_or3_b32 v7, v7, v42, v39
 v_lshlrev_b32_e32 v15, 2, v7
 v_xor_b32_e32 v0, 64, v43
 ds_bpermute_b32 v9, v15, v4
 ds_bpermute_b32 v4, v15, v5
 ds_bpermute_b32 v5, v15, v8
 v_xor_b32_e32 v8, 64, v15
 ds_bpermute_b32 v12, v0, v1
 ds_bpermute_b32 v7, v15, v10
 ds_bpermute_b32 v10, v8, v11
 ds_bpermute_b32 v11, v8, v13
 ds_bpermute_b32 v6, v8, v6
 ds_bpermute_b32 v8, v8, v14
 s_cbranch_scc1 .LBB0_12
 v_lshlrev_b32_e32 v13, 3, v38
 s_waitcnt lgkmcnt(5)
 v_cndmask_b32_e32 v24, v1, v12, vcc
 v_add3_u32 v13, 0, v13, v40
 v_pk_mul_f32 v[14:15], v[18:19], v[24:25] op_sel_hi:[1,0]
 ds_read_u16 v18, v13 offset:1632
 ds_read_u16 v19, v13 offset:1600
 ds_read_u16 v27, v13 offset:1568
 ds_read_u16 v30, v13 offset:1536
 ds_read_u16 v28, v13 offset:1120
 ds_read_u16 v29, v13 offset:1088
 ds_read_u16 v31, v13 offset:1024
 ds_read_u16 v13, v13 offset:1056
 s_mov_b32 s2, 0x5040100
 v_cndmask_b32_e32 v12, v12, v1, vcc
 s_waitcnt lgkmcnt(2)
 v_perm_b32 v29, v28, v29, s2
 s_waitcnt lgkmcnt(0)
 v_pk_mul_f32 v[22:23], v[22:23], v[12:13] op_sel_hi:[1,0]
 v_perm_b32 v28, v13, v31, s2
 v_pk_mul_f32 v[20:21], v[20:21], v[12:13] op_sel_hi:[1,0]
 v_cndmask_b32_e64 v13, v11, v9, s[0:1]
 v_cndmask_b32_e64 v12, v10, v7, s[0:1]
 v_perm_b32 v31, v18, v19, s2
 v_perm_b32 v30, v27, v30, s2
 v_mfma_f32_16x16x16_f16 v[18:21], v[28:29], v[12:13], v[20:23]
 v_mul_f32_e64 v12, v16, v24
 v_mul_f32_e64 v13, v17, v24
 v_add_f32_e32 v24, v2, v3
 v_cndmask_b32_e64 v3, v9, v11, s[0:1]
 v_cndmask_b32_e64 v2, v7, v10, s[0:1]
 v_cndmask_b32_e64 v17, v8, v5, s[0:1]
 v_cndmask_b32_e64 v16, v6, v4, s[0:1]
 v_mfma_f32_16x16x16_f16 v[10:13], v[28:29], v[2:3], v[12:15]
 v_cndmask_b32_e64 v3, v5, v8, s[0:1]
 v_cndmask_b32_e64 v2, v4, v6, s[0:1]
 v_fmac_f32_e32 v24, v36, v1
 v_mfma_f32_16x16x16_f16 v[20:23], v[30:31], v[16:17], v[18:21]
 v_mov_b32_e32 v36, v24
 v_mov_b32_e32 v24, v26
 v_mfma_f32_16x16x16_f16 v[16:19], v[30:31], v[2:3], v[10:13]
.LBB0_12:
 s_waitcnt lgkmcnt(7)
 ds_bpermute_b32 v4, v0, v36
 v_or_b32_e32 v1, s15, v39
 v_lshlrev_b32_e32 v2, 4, v1
 s_add_u32 s2, s8, s18
 v_ashrrev_i32_e32 v3, 31, v2
 s_addc_u32 s3, s9, s19
 s_waitcnt lgkmcnt(0)
 v_cndmask_b32_e32 v5, v4, v36, vcc
 v_lshl_add_u64 v[0:1], v[2:3], 1, s[2:3]
 v_div_scale_f32 v6, s[2:3], v5, v5, v20
 v_rcp_f32_e32 v7, v6
 v_lshrrev_b32_e32 v2, 1, v38
 v_mov_b32_e32 v3, 0
 v_lshl_add_u64 v[0:1], v[0:1], 0, v[2:3]
 v_fma_f32 v3, -v6, v7, 1.0
 v_cndmask_b32_e32 v2, v36, v4, vcc
 v_fmac_f32_e32 v7, v3, v7
 v_div_scale_f32 v3, vcc, v20, v5, v20
 v_mul_f32_e32 v4, v3, v7
 v_fma_f32 v8, -v6, v4, v3
 v_fmac_f32_e32 v4, v8, v7
 v_fma_f32 v3, -v6, v4, v3
 v_div_scale_f32 v6, s[2:3], v5, v5, v21
 v_rcp_f32_e32 v8, v6
 v_div_fmas_f32 v3, v3, v7, v4
 v_div_fixup_f32 v3, v3, v5, v20
 v_fma_f32 v4, -v6, v8, 1.0
 v_fmac_f32_e32 v8, v4, v8
 v_div_scale_f32 v4, vcc, v21, v5, v21
 v_mul_f32_e32 v7, v4, v8
 v_fma_f32 v9, -v6, v7, v4
 v_fmac_f32_e32 v7, v9, v8
 v_fma_f32 v4, -v6, v7, v4
 v_div_scale_f32 v6, s[2:3], v5, v5, v22
 v_rcp_f32_e32 v9, v6
 v_div_fmas_f32 v4, v4, v8, v7
 v_div_fixup_f32 v4, v4, v5, v21
 v_cvt_f16_f32_e32 v4, v4
 v_fma_f32 v7, -v6, v9, 1.0
 v_fmac_f32_e32 v9, v7, v9
 v_div_scale_f32 v7, vcc, v22, v5, v22
 v_mul_f32_e32 v8, v7, v9
 v_fma_f32 v10, -v6, v8, v7
 v_fmac_f32_e32 v8, v10, v9
 v_fma_f32 v6, -v6, v8, v7
 v_div_scale_f32 v7, s[2:3], v5, v5, v23
 v_rcp_f32_e32 v10, v7
 v_div_fmas_f32 v6, v6, v9, v8
 v_div_fixup_f32 v6, v6, v5, v22
 v_fma_f32 v8, -v7, v10, 1.0
 v_fmac_f32_e32 v10, v8, v10
 v_div_scale_f32 v8, vcc, v23, v5, v23
 v_mul_f32_e32 v9, v8, v10
 v_fma_f32 v11, -v7, v9, v8
 v_fmac_f32_e32 v9, v11, v10
 v_fma_f32 v7, -v7, v9, v8
 v_div_scale_f32 v8, s[2:3], v2, v2, v16
 v_rcp_f32_e32 v11, v8
 v_div_fmas_f32 v7, v7, v10, v9
 v_div_fixup_f32 v5, v7, v5, v23
 v_cvt_f16_f32_e32 v5, v5
 v_fma_f32 v7, -v8, v11, 1.0
 v_fmac_f32_e32 v11, v7, v11
 v_div_scale_f32 v7, vcc, v16, v2, v16
 v_mul_f32_e32 v9, v7, v11
 v_fma_f32 v10, -v8, v9, v7
 v_fmac_f32_e32 v9, v10, v11
 v_fma_f32 v7, -v8, v9, v7
 v_div_scale_f32 v8, s[2:3], v2, v2, v17
 v_rcp_f32_e32 v10, v8
 v_div_fmas_f32 v7, v7, v11, v9
 v_div_fixup_f32 v7, v7, v2, v16
 v_fma_f32 v9, -v8, v10, 1.0
 v_fmac_f32_e32 v10, v9, v10
 v_div_scale_f32 v9, vcc, v17, v2, v17
 v_mul_f32_e32 v11, v9, v10
 v_fma_f32 v12, -v8, v11, v9
 v_fmac_f32_e32 v11, v12, v10
 v_fma_f32 v8, -v8, v11, v9
 v_div_scale_f32 v9, s[2:3], v2, v2, v18
 v_rcp_f32_e32 v12, v9
 v_div_fmas_f32 v8, v8, v10, v11
 v_div_fixup_f32 v8, v8, v2, v17
 v_fma_f32 v10, -v9, v12, 1.0
 v_fmac_f32_e32 v12, v10, v12
 v_div_scale_f32 v10, vcc, v18, v2, v18
 v_mul_f32_e32 v11, v10, v12
 v_fma_f32 v13, -v9, v11, v10
 v_fmac_f32_e32 v11, v13, v12
 v_fma_f32 v9, -v9, v11, v10
 v_div_scale_f32 v10, s[2:3], v2, v2, v19
 v_rcp_f32_e32 v13, v10
 v_div_fmas_f32 v9, v9, v12, v11
 v_div_fixup_f32 v9, v9, v2, v18
 v_fma_f32 v11, -v10, v13, 1.0
 v_fmac_f32_e32 v13, v11, v13
 v_div_scale_f32 v11, vcc, v19, v2, v19
 v_mul_f32_e32 v12, v11, v13
 v_fma_f32 v14, -v10, v12, v11
 v_fmac_f32_e32 v12, v14, v13
 v_fma_f32 v10, -v10, v12, v11
 v_div_fmas_f32 v10, v10, v13, v12
 v_div_fixup_f32 v2, v10, v2, v19
 v_cvt_f16_f32_e32 v10, v3
 v_cvt_f16_f32_e32 v3, v6
 v_cvt_f16_f32_e32 v6, v7
 v_cvt_f16_f32_e32 v7, v8
 v_cvt_f16_f32_e32 v8, v9
 v_cvt_f16_f32_e32 v9, v2
 v_pack_b32_f16 v3, v3, v5
 v_pack_b32_f16 v2, v10, v4
 global_store_dwordx2 v[0:1], v[2:3], off
 v_pack_b32_f16 v3, v8, v9
 v_pack_b32_f16 v2, v6, v7
 global_store_dwordx2 v[0:1], v[2:3], off offset:512
 s_and_saveexec_b64 s[2:3], s[0:1]
 s_cbranch_execz .LBB0_14
 s_mov_b32 s0, 0x800000
 v_mov_b32_e32 v0, 0x42000000
 v_cmp_gt_f32_e32 vcc, s0, v36
 s_mul_hi_i32 s1, s14, s17
 s_mul_i32 s0, s14, s17
 v_cndmask_b32_e32 v1, 0, v0, vcc
 v_cndmask_b32_e64 v0, 0, 32, vcc
 v_ldexp_f32 v0, v36, v0
 v_log_f32_e32 v2, v0
 s_lshl_b64 s[0:1], s[0:1], 2
 v_or_b32_e32 v0, s15, v25
 s_add_u32 s0, s10, s0
 v_sub_f32_e32 v1, v2, v1
 v_add_f32_e32 v1, v24, v1
 v_mul_f32_e32 v2, 0x3f317218, v1
 s_addc_u32 s1, s11, s1
 v_ashrrev_i32_e32 v1, 31, v0
 v_lshl_add_u64 v[0:1], v[0:1], 2, s[0:1]
 global_store_dword v[0:1], v2, off
.LBB0_14:
 s_endpgm
 .size	dense, .Lfunc_end0-dense
 .section	.rodata,"a",@progbits
 .p2align	6, 0x0
 .amdhsa_kernel dense
