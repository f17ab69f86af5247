// Everything a person reads, in Chinese and English. Elements name their words by `data-word`
// (text), `data-label` (accessible name) and `data-hint` (placeholder).

const WORDS = {
  title: ["群流", "Qunliu"],
  tagline: ["商家自己的群聊", "Group chat that is yours"],
  log_in: ["登录", "Log in"],
  register: ["注册", "Register"],
  log_out: ["退出登录", "Log out"],
  account: ["账号", "Account name"],
  account_hint: ["小写字母、数字、. _ -", "a-z, 0-9, . _ -"],
  password: ["密码", "Password"],
  password_hint: ["至少 8 个字符", "At least 8 characters"],
  display_name: ["昵称", "Your name"],
  setup_code: ["安装码（服务器启动时打印）", "Setup code (printed when the server started)"],
  my_id: ["我的号码，点一下复制", "My id, tap to copy"],
  copied: ["已复制", "Copied"],
  groups: ["群聊", "Groups"],
  no_groups: ["还没有群。把您的号码发给商家，请他拉您进群。", "No groups yet. Give your id to a merchant to be added."],
  no_groups_staff: ["还没有群，先建一个吧。", "No groups yet. Create the first one."],
  group_name: ["新群名称", "Name of a new group"],
  create: ["建群", "Create"],
  member_id: ["要加入的人的号码 (u_…)", "Id of the person to add (u_…)"],
  add_member: ["加人", "Add"],
  back: ["返回群列表", "Back to the groups"],
  pick_group: ["选一个群开始聊天", "Pick a group to start"],
  composer: ["写消息，回车发送", "Write a message, Enter sends"],
  send: ["发送", "Send"],
  retry: ["重发", "Try again"],
  messages: ["消息", "Messages"],
  beginning: ["这里是群聊的开头", "This is the beginning"],
  loading: ["载入中…", "Loading…"],
  recalled: ["消息已撤回", "The message was recalled"],
  unknown_kind: ["这种消息请更新后查看", "Update to see this message"],
  members: ["{0} 人", "{0} members"],
  online: ["{0} 人在线：{1}", "{0} online: {1}"],
  name_gap: ["、", ", "],
  typing_one: ["{0} 正在输入…", "{0} is typing…"],
  typing_more: ["{0} 等 {1} 人正在输入…", "{0} and others ({1}) are typing…"],
  unread: ["{0} 条未读", "{0} unread"],
  mentioned: ["有人@我", "Mentions you"],
  joined: ["{0} 加入了群聊", "{0} joined"],
  left: ["{0} 离开了群聊", "{0} left"],
  removed: ["{0} 被移出群聊", "{0} was removed"],
  role: ["{0} 的身份变更了", "The role of {0} changed"],
  lost: ["一条内容没能保存", "Something here could not be kept"],
  settings: ["群设置已更新", "The settings changed"],
  renamed: ["群名改为「{1}」", "The group is now called “{1}”"],
  gone: ["您已不在「{0}」", "You are no longer in “{0}”"],
  receipt_sending: ["发送中", "Sending"],
  receipt_accepted: ["已送达", "Accepted"],
  receipt_stored: ["已保存", "Stored"],
  receipt_failed: ["未发送", "Not sent"],
  state_connecting: ["连接中…", "Connecting…"],
  state_live: ["已连接", "Connected"],
  state_waiting: ["连接断开，正在重连…", "Offline, reconnecting…"],
  state_replaced: ["已在别处打开，刷新可回到这里", "Opened elsewhere; reload to return"],
  you: ["我", "Me"],
  language: ["EN", "中文"],
};

const REFUSALS = {
  offline: ["连不上服务器，请检查网络", "The server cannot be reached"],
  bad_request: ["填写的内容有误", "Something you entered is not valid"],
  unauthenticated: ["请重新登录", "Please log in again"],
  token_expired: ["登录已过期", "The login has expired"],
  forbidden: ["没有权限", "You are not allowed to do this"],
  muted: ["您已被禁言", "You are muted"],
  refused: ["内容被拒绝", "The content was refused"],
  not_found: ["找不到", "Not found"],
  conflict: ["与现有内容冲突", "This conflicts with what is there"],
  too_large: ["内容过大", "The content is too large"],
  unsupported: ["不支持的内容类型", "This kind of content is not supported"],
  rate_limited: ["操作过于频繁，请稍后再试", "Too many requests, please wait"],
  busy: ["服务繁忙，请稍后再试", "The service is busy, please try again"],
  internal: ["服务出错了", "Something went wrong on our side"],
  "log_in.unauthenticated": ["账号或密码不对", "Wrong account name or password"],
  "register.conflict": ["这个账号已有人使用", "This account name is taken"],
  "add.not_found": ["没有这个人，请核对号码", "There is nobody with this id"],
  "field.name": ["名称为 2 到 64 个字符：小写字母、数字、. _ -", "Names have 2 to 64 of a-z, 0-9, . _ -"],
  "field.password": ["密码需要 8 到 128 个字符", "Passwords have 8 to 128 characters"],
  "field.display_name": ["昵称为 1 到 64 个字符", "Your name has 1 to 64 characters"],
  "field.setup_code": ["请填写服务器启动时打印的安装码", "Enter the setup code that the server printed"],
  "create.field.name": ["群名称为 1 到 64 个字符", "Group names have 1 to 64 characters"],
  "field.users": ["号码的格式是 u_ 加 32 位", "An id is u_ and 32 digits"],
  "field.body.text": ["消息为 1 到 20,000 个字符", "Messages have 1 to 20,000 characters"],
};

const LANGUAGE_KEY = "qunliu.language";

/** 0 = Chinese, 1 = English. */
let language = ["zh", "en"].indexOf(sessionStorage.getItem(LANGUAGE_KEY));
if (language < 0) language = navigator.language.startsWith("zh") ? 0 : 1;

export function locale() {
  return ["zh-CN", "en"][language];
}

export function switchLanguage() {
  language = 1 - language;
  sessionStorage.setItem(LANGUAGE_KEY, ["zh", "en"][language]);
}

const DAY = { month: "short", day: "numeric" };
const HOUR = { hour: "2-digit", minute: "2-digit" };
/** What writes a time, by the language and what is told: making one takes long. */
const clocks = new Map();

/** The hour of today, the day of earlier; `inFull` the hour of earlier, too. */
export function moment(at, inFull = false) {
  const when = new Date(at);
  const isToday = when.toDateString() === new Date().toDateString();
  const told = isToday ? HOUR : inFull ? { ...DAY, ...HOUR } : DAY;
  const key = [locale(), ...Object.keys(told)].join();
  if (!clocks.has(key)) clocks.set(key, new Intl.DateTimeFormat(locale(), told));
  return clocks.get(key).format(when);
}

/** The words of a name, with `{0}` replaced. */
export function word(name, ...values) {
  return WORDS[name][language].replace(/\{(\d)\}/g, (_, index) => values[index]);
}

/** What went wrong in `deed`, as precisely as there are words for it. */
export function refusal(error, deed = "") {
  const field = error.fields?.[0]?.replace(/[[.]\d.*$/, "");
  const names = [`${deed}.field.${field}`, `field.${field}`, `${deed}.${error.code}`, error.code];
  const found = names.find((name) => REFUSALS[name]) ?? "internal";
  return REFUSALS[found][language];
}

/** Fills in the words of everything below `root`. */
export function translate(root) {
  document.documentElement.lang = locale();
  document.title = word("title");
  for (const element of root.querySelectorAll("[data-word]")) {
    element.textContent = word(element.dataset.word);
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", word(element.dataset.label));
  }
  for (const element of root.querySelectorAll("[data-hint]")) {
    element.placeholder = word(element.dataset.hint);
  }
}
