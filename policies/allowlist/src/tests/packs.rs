//! Each pack by itself: what it lets through, and what it does not.

use super::{hardened_code, rules};
use crate::packs;

fn check(pack: &str, allowed: &[&str], denied: &[(&str, &str)]) {
    let rules = rules(&format!("include = [{pack:?}]"));
    for line in allowed {
        assert_eq!(hardened_code(&rules, line), "allow", "{pack}: {line}");
    }
    for (line, code) in denied {
        assert_eq!(hardened_code(&rules, line), *code, "{pack}: {line}");
    }
}

#[test]
fn all_packs_can_be_read_and_included_together() {
    let names: Vec<_> = packs::names().collect();
    assert_eq!(
        names,
        [
            "cargo",
            "coreutils-read",
            "docker-read",
            "git-read",
            "git-write",
            "go",
            "kubectl-read",
            "make",
            "npm",
            "python",
            "shell",
            "terraform-plan",
            "versions"
        ]
    );
    rules(&format!("include = {names:?}"));
}

#[test]
fn git_rules_of_both_packs_want_one_form() {
    let rules = |name| packs::read(name).unwrap().programs.remove("git").unwrap();
    let (reading, writing) = (rules("git-read"), rules("git-write"));
    assert_eq!(reading.prefix, writing.prefix);
    assert_eq!(reading.prefix_env, writing.prefix_env);
}

#[test]
fn coreutils_read() {
    check(
        "coreutils-read",
        &[
            "echo --- part ---",
            "echo -n x -y",
            "printf '%s=%d\\n' a -5",
            "sed -n 1,20p a.txt",
            "sed -n '/^fn main/,$p' a.txt",
            "sed 's/a[bc]*/x/g; s|/|.|' a.txt",
            "sed -e 1d -e 's/x/y/' a.txt",
            "sed '$d' a.txt",
            "sed 's/[^a-z]//g' a.txt",
            "awk '{print $1, $NF}' a.txt",
            "awk -F: 'NR==3 {print $2}' a.txt",
            "awk '{print $1}' a.txt sub -",
            "awk '/foo/' a.txt",
            "awk 'NR==5' a.txt",
            "awk 'NR>1 && NR<=5' a.txt",
            "awk '{print $1\": \"$2}' a.txt",
            "awk '{s+=$1} END {print s}' a.txt",
            "awk '{s+=$1; n++} END {print s/n, NR}' a.txt",
            "awk -F, '$3 > 100 {print $1}' a.txt",
            "awk '!seen[$0]++' a.txt",
            "awk '/a/,/b/' a.txt",
            "awk '$2 ~ /^x[0-9]+$/ {printf \"%s\\n\", $1}' a.txt",
            "awk 'length($0) > 80 {print NR\": \"$0}' a.txt",
            "awk '{for (i=1; i<=NF; i++) c[$i]++} END {for (w in c) print c[w], w}' a.txt",
            "awk 'BEGIN {FS=\":\"} {if ($1 == \"x\") print $2; else print $3}' a.txt",
            "awk 'END{print NR}' a.txt",
            "sed 's/^\\s*//' a.txt",
            "sed 's/[[:space:]]*$//' a.txt",
            "sed 's,/,_,g' a.txt",
            "sed 's/\\/usr\\/bin/x/' a.txt",
            "sed '/^\\s*$/d; s/\\(a\\)/\\1\\n/' a.txt",
            "sed -n '/a/,/b/p;' a.txt",
            "echo -e 'a\\nb' c",
            "echo -ne 'a\\tb'",
            "tail -f a.txt",
            "tail -n 5 -f a.txt",
            "grep -e a -e b a.txt",
            "grep -n -- x a.txt",
            "rg --files src",
            "rg -n x src",
            "du -sh .",
            "seq -5 2 10",
            "sleep 0.5",
            "test -f a.txt",
            "tree -L 2 -a",
            "comm -12 a.txt b.txt",
            "realpath --relative-to=. sub",
            "date -d yesterday +%F",
        ],
        &[
            ("echo -e '\\033[2K'", "value-not-allowed"),
            ("echo -ne x '\\x1b'", "value-not-allowed"),
            ("echo -e -n '\\e'", "value-not-allowed"),
            ("echo -n -en x '\\c'", "value-not-allowed"),
            ("printf '\\033[2K'", "value-not-allowed"),
            ("printf '%b' '\\033'", "value-not-allowed"),
            ("printf -v x y", "flag-not-allowed"),
            ("sed '1e touch PWNED' a.txt", "value-not-allowed"),
            ("sed 'w PWNED' a.txt", "value-not-allowed"),
            ("sed 's/a/b/w PWNED' a.txt", "value-not-allowed"),
            ("sed 's/a/touch PWNED/e' a.txt", "value-not-allowed"),
            ("sed 's/[/]/;s/w PWNED/x/g' a.txt", "value-not-allowed"),
            ("sed 's/[/]/x/' a.txt", "value-not-allowed"),
            ("sed 's/[^]/p/;/[a]/s/w /tmp/p' a.txt", "value-not-allowed"),
            ("awk '/[^]/{print $1}/[a]/' a.txt", "value-not-allowed"),
            ("sed 's/a\\\\/w PWNED/b/' a.txt", "value-not-allowed"),
            ("sed 's,a\\,b,w PWNED,' a.txt", "value-not-allowed"),
            ("sed 's,[,],x,;s/,b,w PWNED/x/' a.txt", "value-not-allowed"),
            ("sed 's/x/[[:space:]]/;w PWNED' a.txt", "value-not-allowed"),
            ("sed 's/[[:space:]/]/;w PWNED;s/x/y/' a.txt", "value-not-allowed"),
            ("sed '1d w PWNED' a.txt", "value-not-allowed"),
            ("sed 's/a/b/e;p' a.txt", "value-not-allowed"),
            ("sed '/a/{w PWNED' a.txt", "value-not-allowed"),
            ("sed '/\\d047/p' a.txt", "value-not-allowed"),
            ("sed 's/\\c//;w PWNED' a.txt", "value-not-allowed"),
            ("sed 'r ../outside/secret' a.txt", "value-not-allowed"),
            ("sed -i s/a/b/ a.txt", "flag-not-allowed"),
            ("sed -n -i 1p a.txt", "flag-not-allowed"),
            ("sed -f x a.txt", "flag-not-allowed"),
            ("sed a.txt -e 1d", "value-not-allowed"),
            ("sed p -e 1d", "option-too-late"),
            ("sed '1d' ../outside/secret", "path-not-allowed"),
            ("awk 'BEGIN{system(\"x\")}'", "value-not-allowed"),
            ("awk '{print $1 > \"PWNED\"}' a.txt", "value-not-allowed"),
            ("awk '{print > $1}' a.txt", "value-not-allowed"),
            ("awk '{print >> $1}' a.txt", "value-not-allowed"),
            ("awk 'NR>1 {print $1>$2}' a.txt", "value-not-allowed"),
            ("awk '{print | $1}' a.txt", "value-not-allowed"),
            ("awk '{print |& $1}' a.txt", "value-not-allowed"),
            ("awk '{sys tem}' a.txt", "value-not-allowed"),
            ("awk '{system($1)}' a.txt", "value-not-allowed"),
            ("awk '{s/x/system($1)}' a.txt", "value-not-allowed"),
            ("awk '{$1 | getline}' a.txt", "value-not-allowed"),
            ("awk '{while((getline x < $1) >= 0) print x}' a.txt", "value-not-allowed"),
            ("awk 'BEGIN{ARGV[1]=\"/etc/passwd\";ARGC=2}{print}' a.txt", "value-not-allowed"),
            ("awk 'BEGIN{for(k in ENVIRON) print ENVIRON[k]}'", "value-not-allowed"),
            ("awk '@include \"x\"'", "value-not-allowed"),
            ("awk 'BEGIN{f=\"system\"; @f(\"x\")}'", "value-not-allowed"),
            ("awk '{print /\"/; system(\"x\") #\"/}' a.txt", "value-not-allowed"),
            ("awk '{x=$1 /\"/; system(\"x\")} #\"/' a.txt", "value-not-allowed"),
            ("awk '{if (1) /\"/; system(\"x\") #\"/}' a.txt", "value-not-allowed"),
            ("awk '{print length /\"/; system(\"x\") #\"/}' a.txt", "value-not-allowed"),
            ("awk '{print \"\\\\\"; system(\"x\") #\"}' a.txt", "value-not-allowed"),
            ("awk '{printf \"\\033[2K\"}' a.txt", "value-not-allowed"),
            ("awk '{close($1)}' a.txt", "value-not-allowed"),
            ("awk '#{' a.txt", "value-not-allowed"),
            ("awk '{print | \"sh\"}' a.txt", "value-not-allowed"),
            ("awk -f x", "flag-not-allowed"),
            ("awk -v x=1 '{print $1}'", "flag-not-allowed"),
            ("awk '{print $1}' /inet/tcp/0/x/1", "path-not-allowed"),
            ("awk '{print $1}' -F ../outside/secret", "operand-not-allowed"),
            ("awk '{print $1}' a.txt -F ../outside/secret", "operand-not-allowed"),
            ("awk '{print $1}' a.txt ../outside/secret", "path-not-allowed"),
            ("awk '{print $1}' a.txt -- ../outside/secret", "operand-not-allowed"),
            ("grep ../a -e x", "option-too-late"),
            ("grep -ex ../outside/secret", "path-not-allowed"),
            ("rg ../outside --files", "option-too-late"),
            ("rg --files ../outside", "path-not-allowed"),
            ("rg --pre x y", "flag-not-allowed"),
            ("tree -o PWNED", "flag-not-allowed"),
            ("tree -R", "flag-not-allowed"),
            ("tree -Io x PWNED", "flag-not-allowed"),
            ("tree -Il x", "flag-not-allowed"),
            ("tree -L2", "flag-not-allowed"),
            ("hostname evil", "operand-not-allowed"),
            ("xargs ls", "program-not-allowed"),
            ("tee x", "program-not-allowed"),
            ("env ls", "program-not-allowed"),
            ("base64 a.txt", "program-not-allowed"),
            ("realpath --relative-to=/etc sub", "path-not-allowed"),
            ("test -f /etc/shadow", "path-not-allowed"),
            ("date -s now", "flag-not-allowed"),
            ("date -Id 010100002030", "flag-not-allowed"),
            ("date -uId 010100002030", "flag-not-allowed"),
        ],
    );
}

#[test]
fn git_read() {
    check(
        "git-read",
        &[
            "git log --oneline -n 5 -- src",
            "git status -sb",
            "git status -uno",
            "git ls-files -mo",
            "git log --since '2 weeks ago' --author bob --grep fix --max-count 5",
            "git log -L 1,3:a.txt",
            "git blame -L '/fn/,+5' a.txt",
            "git branch --merged",
            "git branch -a --no-merged main",
            "git branch --contains",
            "git branch --sort=-committerdate",
            "git tag -n",
            "git tag -n5 --sort=-creatordate",
            "git stash list",
            "git stash show -p stash@{0}",
            "git describe --dirty --always",
            "git check-ignore -v a.txt",
            "git symbolic-ref --short HEAD",
            "git config --get user.name",
            "git config user.email",
            "git remote -v",
            "git remote show",
            "git log -5 --since=yesterday --author=x main..HEAD",
            "git show HEAD:a.txt",
            "git diff --stat HEAD~1",
            "git grep -n -e x -- src",
            "git branch --list 'feature/x'",
            "git branch --contains HEAD",
            "git branch -vv",
            "git tag -l v1",
            "git tag --list",
            "git remote get-url origin",
            "git worktree list",
            "git cat-file -p HEAD:a.txt",
            "git shortlog -sn HEAD",
            "git reflog -n 5",
            "git for-each-ref --format=x refs/heads",
            "git --version",
        ],
        &[
            ("git branch x", "operand-not-allowed"),
            ("git branch --merged main -d x", "flag-not-allowed"),
            ("git branch -f --merged x", "flag-not-allowed"),
            ("git tag -n -d x", "flag-not-allowed"),
            ("git tag -n -f x", "flag-not-allowed"),
            ("git status -svv", "flag-not-allowed"),
            ("git ls-files -oX ../outside/x", "flag-not-allowed"),
            ("git stash", "sub-command-missing"),
            ("git stash pop", "sub-command-not-allowed"),
            ("git stash -u", "flag-not-allowed"),
            ("git config user.name x", "operand-not-allowed"),
            ("git config --get user.name x", "operand-not-allowed"),
            ("git config --get http.extraheader", "value-not-allowed"),
            ("git config --get credential.helper", "value-not-allowed"),
            ("git config --global alias.st x", "value-not-allowed"),
            ("git config --unset user.name", "flag-not-allowed"),
            ("git config -f ../x --get user.name", "flag-not-allowed"),
            ("git symbolic-ref HEAD refs/heads/x", "operand-not-allowed"),
            ("git symbolic-ref -d HEAD", "flag-not-allowed"),
            ("git check-ignore --stdin", "flag-not-allowed"),
            ("git remote show x", "operand-not-allowed"),
            ("git branch --list x -D y", "flag-not-allowed"),
            ("git tag x", "operand-not-allowed"),
            ("git tag -l x -d y", "flag-not-allowed"),
            ("git worktree add x", "sub-command-not-allowed"),
            ("git reflog expire", "operand-not-allowed"),
            ("git remote set-url origin x", "sub-command-not-allowed"),
            ("git grep -Ox y", "flag-not-allowed"),
            ("git grep -nO y", "flag-not-allowed"),
            ("git grep --no-index x", "flag-not-allowed"),
            ("git grep -f ../x", "flag-not-allowed"),
            ("git grep x -e y", "option-too-late"),
            ("git cat-file --batch", "flag-not-allowed"),
            ("git cat-file --filters HEAD:a.txt", "flag-not-allowed"),
            ("git config --list", "flag-not-allowed"),
            ("git commit -m x", "sub-command-not-allowed"),
            ("git log --output=x", "flag-not-allowed"),
            ("git show --output x", "flag-not-allowed"),
            ("git diff ../outside/secret a.txt", "path-not-allowed"),
            ("git -C .. log", "flag-not-allowed"),
        ],
    );
}

#[test]
fn git_write() {
    check(
        "git-write",
        &[
            "git add .",
            "git add -A",
            "git commit -m 'a message'",
            "git commit -am x",
            "git commit --amend --no-edit",
            "git switch -c new",
            "git switch main",
            "git checkout -b new",
            "git branch new",
            "git tag -a v1 -m x",
            "git restore --staged a.txt",
            "git reset --soft HEAD~1",
            "git stash push -m x",
            "git mv a.txt b.txt",
            "git rm --cached a.txt",
        ],
        &[
            ("git commit", "option-missing"),
            ("git commit -a", "option-missing"),
            ("git commit -m x -e", "flag-not-allowed"),
            ("git commit -F x", "flag-not-allowed"),
            ("git commit -t x -m y", "flag-not-allowed"),
            ("git tag v1", "operand-not-allowed"),
            ("git tag -a v1", "option-missing"),
            ("git add -p", "flag-not-allowed"),
            ("git add ../outside/secret", "path-not-allowed"),
            ("git add -f x", "flag-not-allowed"),
            ("git stash clear", "sub-command-not-allowed"),
            ("git stash --all", "flag-not-allowed"),
            ("git checkout a.txt", "option-missing"),
            ("git checkout -- a.txt", "flag-not-allowed"),
            ("git reset --hard", "flag-not-allowed"),
            ("git stash drop", "sub-command-not-allowed"),
            ("git clean -fdx", "sub-command-not-allowed"),
            ("git push", "sub-command-not-allowed"),
            ("git merge x", "sub-command-not-allowed"),
            ("git config a b", "sub-command-not-allowed"),
            ("git branch -D x", "flag-not-allowed"),
            ("git branch -f x", "flag-not-allowed"),
            ("git switch -f x", "flag-not-allowed"),
            ("git mv a.txt ../b.txt", "path-not-allowed"),
        ],
    );
}

#[test]
fn cargo() {
    check(
        "cargo",
        &[
            "cargo build --release",
            "cargo test -p x some::test -- --nocapture",
            "CARGO_TERM_COLOR=never RUST_BACKTRACE=1 cargo test",
            "cargo clippy --all-targets -- -D warnings",
            "cargo fmt --all --check",
            "cargo run -- --flag",
            "cargo run x --flag",
            "cargo tree -d",
            "cargo metadata --format-version 1 --no-deps",
        ],
        &[
            ("cargo --config x test", "flag-not-allowed"),
            ("cargo test --config x", "flag-not-allowed"),
            ("cargo test --manifest-path ../x/Cargo.toml", "path-not-allowed"),
            ("cargo test --target-dir=/tmp/x", "path-not-allowed"),
            ("cargo +nightly test", "sub-command-not-allowed"),
            ("cargo -Z x test", "flag-not-allowed"),
            ("cargo install x", "sub-command-not-allowed"),
            ("cargo publish", "sub-command-not-allowed"),
            ("cargo add x", "sub-command-not-allowed"),
            ("cargo meta", "sub-command-not-allowed"),
            ("RUSTC=./x cargo test", "assignment-not-allowed"),
            ("RUSTFLAGS=x cargo test", "assignment-not-allowed"),
            ("cargo test --rel", "flag-not-allowed"),
        ],
    );
}

#[test]
fn npm() {
    check(
        "npm",
        &[
            "npm test",
            "npm test -- --watch=false",
            "npm run lint",
            "npm run build:prod --silent -- --x",
            "CI=1 npm ci",
            "npm --prefix web test",
            "npm install",
            "npm ls --depth 0",
            "pnpm -r test",
            "pnpm --filter web run build",
            "yarn install --frozen-lockfile",
            "yarn run lint",
        ],
        &[
            ("npm install left-pad", "operand-not-allowed"),
            ("npm install -g", "flag-not-allowed"),
            ("npm --prefix ../x test", "path-not-allowed"),
            ("npm --script-shell=./x test", "flag-not-allowed"),
            ("npm run x --script-shell=./x", "flag-not-allowed"),
            ("npm exec -c x", "sub-command-not-allowed"),
            ("npm config get x", "sub-command-not-allowed"),
            ("npm publish", "sub-command-not-allowed"),
            ("npm pack", "sub-command-not-allowed"),
            ("npm explore x -- y", "sub-command-not-allowed"),
            ("npx left-pad", "program-not-allowed"),
            ("npm_config_script_shell=./x npm test", "assignment-not-allowed"),
            ("NODE_OPTIONS=x npm test", "assignment-not-allowed"),
            ("pnpm dlx x", "sub-command-not-allowed"),
            ("pnpm build", "sub-command-not-allowed"),
            ("yarn build", "sub-command-not-allowed"),
            ("yarn dlx x", "sub-command-not-allowed"),
        ],
    );
}

#[test]
fn python() {
    check(
        "python",
        &[
            "python3 script.py --any -x",
            "python3 -u script.py",
            "python3 -m pytest -q tests",
            "pytest -x --tb=short tests/test_a.py::test_b",
            "./.venv/bin/python script.py",
            "./.venv/bin/pytest -q",
            "python3 -m unittest -v",
            "python3 -m json.tool a.txt",
            "uv run pytest -q",
            "uv run --frozen python script.py --x",
            "uv sync --frozen",
            "ruff check --fix src",
            "mypy --strict src",
        ],
        &[
            ("python3", "operand-missing"),
            ("python3 -c x", "flag-not-allowed"),
            ("python3 -i script.py", "flag-not-allowed"),
            ("python3 -uc x", "flag-not-allowed"),
            ("python3 ../x.py", "path-not-allowed"),
            ("python3 -m pip install x", "sub-command-not-allowed"),
            ("python3 -m http.server", "sub-command-not-allowed"),
            ("./bin/python script.py", "program-inside-roots"),
            ("pytest -p evil", "flag-not-allowed"),
            ("pytest -c ../x", "flag-not-allowed"),
            ("pytest ../x", "path-not-allowed"),
            ("PYTHONPATH=x python3 script.py", "assignment-not-allowed"),
            ("uv run sh -c x", "sub-command-not-allowed"),
            ("uv run --with x pytest", "flag-not-allowed"),
            ("uv pip install x", "sub-command-not-allowed"),
            ("pip install x", "program-not-allowed"),
        ],
    );
}

#[test]
fn go() {
    check(
        "go",
        &[
            "go build ./cmd/x",
            "go build -o bin/x .",
            "go test -run=TestA -count=1 -v ./...",
            "go test -race -timeout 30s ./...",
            "go vet ./...",
            "go run . --flag",
            "go list -m -json all",
            "go env GOPATH",
            "go mod tidy",
            "CGO_ENABLED=0 go build .",
        ],
        &[
            ("go test -exec ./x .", "flag-not-allowed"),
            ("go test -exec=./x .", "flag-not-allowed"),
            ("go build -toolexec=./x .", "flag-not-allowed"),
            ("go vet -vettool=./x .", "flag-not-allowed"),
            ("go build -o ../x .", "path-not-allowed"),
            ("go build -o=../x .", "path-not-allowed"),
            ("go test -coverprofile=/etc/x .", "path-not-allowed"),
            ("go test --run=x .", "flag-not-allowed"),
            ("go install x", "sub-command-not-allowed"),
            ("go generate", "sub-command-not-allowed"),
            ("go env -w X=y", "flag-not-allowed"),
            ("go -C .. build", "flag-not-allowed"),
            ("GOFLAGS=-toolexec=x go build", "assignment-not-allowed"),
        ],
    );
}

#[test]
fn make() {
    check(
        "make",
        &[
            "make",
            "make -j4 test",
            "make -j",
            "make -j 4 test",
            "make build VERBOSE=1",
            "make -n all",
            "make --no-print-directory test",
        ],
        &[
            ("make -C .. x", "flag-not-allowed"),
            ("make -f ../x", "flag-not-allowed"),
            ("make -f/etc/x", "flag-not-allowed"),
            ("make --eval=x", "flag-not-allowed"),
            ("make SHELL=./x", "value-not-allowed"),
            ("make CC=./x", "value-not-allowed"),
            ("MAKEFLAGS=x make", "assignment-not-allowed"),
        ],
    );
}

#[test]
fn docker_read() {
    check(
        "docker-read",
        &[
            "docker ps -a",
            "docker ps -n 5",
            "docker logs -f web",
            "docker ps --filter name=x --format '{{.Names}}'",
            "docker logs --tail 50 web",
            "docker inspect web",
            "docker images",
            "docker stats --no-stream",
            "docker version",
            "docker network ls",
            "docker image inspect x:latest",
        ],
        &[
            ("docker run x", "sub-command-not-allowed"),
            ("docker exec x sh", "sub-command-not-allowed"),
            ("docker -H tcp://x ps", "flag-not-allowed"),
            ("docker --context x ps", "flag-not-allowed"),
            ("docker --config x ps", "flag-not-allowed"),
            ("docker stats", "option-missing"),
            ("docker cp x y", "sub-command-not-allowed"),
            ("docker compose ps", "sub-command-not-allowed"),
            ("docker container rm x", "sub-command-not-allowed"),
            ("docker system prune", "sub-command-not-allowed"),
        ],
    );
}

#[test]
fn kubectl_read() {
    check(
        "kubectl-read",
        &[
            "kubectl get pods -A",
            "kubectl get cm",
            "kubectl logs -f web-1",
            "kubectl -n web get pods,svc -o wide",
            "kubectl get pod/web-1 -o jsonpath={.status.phase}",
            "kubectl describe deployment web",
            "kubectl logs -n web web-1 -c app --tail=50",
            "kubectl top pods -A",
            "kubectl rollout status deployment/web",
            "kubectl config current-context",
            "kubectl auth can-i get pods",
        ],
        &[
            ("kubectl get secrets", "value-not-allowed"),
            ("kubectl get secret/x -o yaml", "value-not-allowed"),
            ("kubectl get pods,secrets", "value-not-allowed"),
            ("kubectl get pods secret/x", "value-not-allowed"),
            ("kubectl get pods -o go-template-file=x", "value-not-allowed"),
            ("kubectl get -f x", "flag-not-allowed"),
            ("kubectl get --raw /api/v1/secrets", "flag-not-allowed"),
            ("kubectl --kubeconfig x get pods", "flag-not-allowed"),
            ("kubectl --context x get pods", "flag-not-allowed"),
            ("kubectl get pods --as admin", "flag-not-allowed"),
            ("kubectl delete pod x", "sub-command-not-allowed"),
            ("kubectl exec x -- sh", "sub-command-not-allowed"),
            ("kubectl config view", "sub-command-not-allowed"),
            ("kubectl rollout restart deployment/web", "sub-command-not-allowed"),
            ("kubectl get pods -n=x", "value-not-allowed"),
        ],
    );
}

#[test]
fn terraform_plan() {
    check(
        "terraform-plan",
        &[
            "terraform fmt -check -recursive",
            "terraform validate",
            "terraform init -input=false -backend=false",
            "terraform plan -out=plan.bin -var a=b -no-color",
            "terraform show plan.bin",
            "terraform state list",
            "terraform output",
        ],
        &[
            ("terraform apply", "sub-command-not-allowed"),
            ("terraform fmt", "option-missing"),
            ("terraform -chdir=x show ../s", "flag-not-allowed"),
            ("terraform plan -out=../x", "path-not-allowed"),
            ("terraform plan -var-file=/etc/x", "path-not-allowed"),
            ("terraform plan --out=x", "flag-not-allowed"),
            ("terraform show -json", "flag-not-allowed"),
            ("terraform output password", "operand-not-allowed"),
            ("terraform state pull", "sub-command-not-allowed"),
            ("TF_CLI_ARGS=x terraform plan", "assignment-not-allowed"),
            ("TF_LOG_PATH=x terraform plan", "assignment-not-allowed"),
        ],
    );
}

#[test]
fn versions() {
    check(
        "versions",
        &["cargo --version", "rustc -vV", "npm --version", "node -v", "python3 -V", "make --version"],
        &[
            ("cargo build", "operand-not-allowed"),
            ("npm --version install", "operand-not-allowed"),
            ("python3 --version -c x", "flag-not-allowed"),
            ("node", "sub-command-missing"),
            ("make", "sub-command-missing"),
            ("node --version -e x", "flag-not-allowed"),
            ("RUSTUP_TOOLCHAIN=evil rustc --version x", "abstain"),
        ],
    );
}
