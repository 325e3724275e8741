DROP FUNCTION draftline.fold_patches;
